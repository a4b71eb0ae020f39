"""Every Python example in the README and in the docstrings of the public functions runs, and its assertions hold."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from reconfig import api

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4
    assert all("assert " in example for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_run(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"__name__": "example"})


def test_docstring_examples_show_what_is_printed() -> None:
    found = doctest.testmod(api)
    assert found.attempted >= 9
    assert found.failed == 0
