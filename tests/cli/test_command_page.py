"""Every `$ reconfig ...` line on the page about the command line prints what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from reconfig.cli import main
from reconfig.cli.commands import COMMANDS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "command-line.md").read_text()
LINES = [
    (line, said)
    for block in re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)
    for line, said in re.findall(r"^\$ reconfig (.*)\n((?:[^$\n].*\n|\n)*)", block, flags=re.MULTILINE)
]


def test_there_are_lines_for_every_command_that_prints_little() -> None:
    assert {line.split()[0] for line, _ in LINES} >= {"stages", "plan", "draw", "apply"}
    assert all(f"`reconfig {name} " in PAGE or f"`reconfig {name}`" in PAGE for name in COMMANDS)


def test_every_line_prints_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    for line, said in LINES:
        code = main(shlex.split(line))
        printed = capsys.readouterr()
        text = printed.err if code else printed.out
        assert [row.rstrip() for row in text.splitlines()] == said.splitlines(), line
        assert code == (1 if said.startswith("error: ") else 0)
