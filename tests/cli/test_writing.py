"""Files are written whole or not at all, and JSON stays alone on stdout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from reconfig.cli.printing import aside, check_can_write, print_json, write
from reconfig.errors import ExportError


@pytest.mark.parametrize("content", ["γ = 2\n", b"\x89PNG"], ids=["text", "bytes"])
def test_a_file_replaces_the_one_that_is_there(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    write(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(tmp_path.iterdir()) == [path]


def test_what_stops_half_way_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ExportError) as caught:
        write(path, "new")
    assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_found_first(tmp_path: Path) -> None:
    check_can_write(tmp_path / "x.svg", ".svg", ".png")
    with pytest.raises(ExportError, match=r"x.jpg has to end in \.svg or \.png: write .*/x\.svg$"):
        check_can_write(tmp_path / "x.jpg", ".svg", ".png")
    with pytest.raises(ExportError, match=r"cannot write .*: there is no folder .*/no; make it first$"):
        check_can_write(tmp_path / "no" / "x.svg", ".svg")


def test_aside_keeps_stdout_clean(capsys: pytest.CaptureFixture[str]) -> None:
    with aside():
        print("a word")
    print_json({"a": [1]})
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ('{\n "a": [\n  1\n ]\n}\n', "a word\n")
    assert sys.stdout.writable()
