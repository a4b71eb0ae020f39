from __future__ import annotations

import sys
from types import ModuleType

import pytest

from benchmarks import run, search, sweep


@pytest.mark.parametrize(
    ("program", "words", "error"),
    [
        (run, ["demo", "--seeds", "0"], "seeds must be at least 1, not 0"),
        (sweep, ["gamma", "--limit", "0"], "limit must be at least 1, not 0"),
        (search, ["zoo:vgg11", "--minutes", "0"], "minutes must be above 0, not 0.0"),
    ],
)
def test_values_that_make_no_sense_are_an_error_in_one_line(
    program: ModuleType,
    words: list[str],
    error: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{program.__name__}.py", *words])
    with pytest.raises(SystemExit, match=r"^2$"):
        program.main()
    assert capsys.readouterr().err == f"error: {error}\n"
