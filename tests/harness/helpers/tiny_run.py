"""A whole run in seconds: the command line that the tests of ``benchmarks/run.py`` share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HELPERS = Path(__file__).resolve().parent
ROOT = Path(__file__).resolve().parents[3]
TINY = [
    *("demo", "--tracker", "none"),
    *("--original.gamma", "0.04", "--variant.gamma", "0.04", "--compute.device", "cpu"),
    *("--data.train-limit", "80", "--data.test-limit", "20", "--data.hold-out", "16", "--train.batch", "16"),
    *("--train.epochs", "2", "--train.attack.steps", "2", "--evaluate.attacks", "fgsm", "--save-every", "0"),
]
"""Two networks of two epochs of four steps, with a checkpoint after each step."""


def command(out: Path, *more: str) -> list[str]:
    """The tiny run as a command of its own, into ``out``."""
    return [sys.executable, str(ROOT / "benchmarks" / "run.py"), *TINY, "--out", str(out), *more]


def environment() -> dict[str, str]:
    """One thread, so that runs beside each other do not wait for one another."""
    return os.environ | {"OMP_NUM_THREADS": "1"}
