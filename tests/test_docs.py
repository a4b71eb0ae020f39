"""Every Python example in docs/ runs, and its assertions hold."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

NOISY = ("lightning", "transformers", "mmengine", "ultralytics")  # warn of what is their own
LIBRARIES = ("timm", "torchvision", "segmentation_models_pytorch", *NOISY)
DOCS = Path(__file__).resolve().parent.parent / "docs"
EXAMPLES = [
    pytest.param(example, id=f"{page.relative_to(DOCS).with_suffix('')}-{number}")
    for page in sorted(DOCS.rglob("*.md"))
    for number, example in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))
]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in LIBRARIES:
        if library in example:
            pytest.importorskip(library)
    assert "assert " in example
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "example.py"  # a file, since messages quote lines of it
    script.write_text(example)
    with warnings.catch_warnings():
        if any(library in example for library in NOISY):
            warnings.simplefilter("ignore")
        exec(compile(example, str(script), "exec"), {"__name__": "example"})
