"""Pictures in files, and in the terminal at 80 columns."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from reconfig.cli import main

DRAW = ["draw", "net.py:Net", "10-4", "--gamma", "2"]
STAGES = """\
Net, rule 10-4, γ = 2
3,558 → 5,682 parameters, 1,159,368 → 2,065,056 multiply-adds
"""


def out(capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main([*DRAW, *more]) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("layers", [[], ["--layers"]], ids=["stages", "layers"])
@pytest.mark.parametrize("columns", [80, 200])
def test_in_the_terminal(
    layers: list[str], columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = out(capsys, *layers)
    assert max(map(len, text.splitlines())) <= min(columns, 120)
    assert "before" in text
    assert "\x1b" not in text
    for words in (
        ["a ", "b ", "fc", "3 → 16 3x3", "16 → 20 3x3", "32 → 16 3x3"] if layers else ["16 channels", "×2", "×0.8"]
    ):
        assert words in text


@pytest.mark.usefixtures("folder")
def test_bars_are_as_long_as_there_are_channels(capsys: pytest.CaptureFixture[str]) -> None:
    bars = [line.split() for line in out(capsys).splitlines() if "█" in line]
    lengths = [[len(word) for word in line if word.startswith("█")] for line in bars]
    assert [before * 2 for before, _ in lengths[:1]] == pytest.approx([after for _, after in lengths[:1]], abs=1)
    assert lengths[1][0] / lengths[0][0] == pytest.approx(20 / 16, abs=0.1)
    assert lengths[0][1] == 29


@pytest.mark.usefixtures("folder")
def test_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert out(capsys, "-o", "a.svg") == "written to a.svg\n"
    assert ElementTree.parse("a.svg").getroot().tag.endswith("svg")
    out(capsys, "-o", "layers.svg", "--layers")
    assert "16 → 20 3x3" in Path("layers.svg").read_text()
    out(capsys, "-o", "a.html")
    page = Path("a.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<svg " in page
    assert "stage  resolution" in page


@pytest.mark.usefixtures("folder")
def test_json_is_the_chart(capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads(out(capsys, "--json", "-o", "a.svg"))
    assert Path("a.svg").exists()
    assert [[cell["length"] for cell in row["cells"]] for row in record["rows"]] == [[16, 32], [20, 16]]


@pytest.mark.usefixtures("folder")
def test_png(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    out(capsys, "-o", "a.png")
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("folder")
def test_png_without_matplotlib(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([*DRAW, "-o", "a.png"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: a PNG is drawn by matplotlib, which is not installed: pip install 'robust-reconfig[draw]', or write an "
        ".svg or .html, which need nothing"
    )
    assert not Path("a.png").exists()
