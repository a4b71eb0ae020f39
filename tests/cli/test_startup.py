"""Help does not wait for torch."""

from __future__ import annotations

import resource
import subprocess
import sys

from reconfig.cli.commands import COMMANDS

HEAVY = ("torch", "numpy", "timm", "torchvision", "matplotlib", "fvcore")
LINES = ["--help", "--version", "--tyro-print-completion bash", "stags", *(f"{name} --help" for name in COMMANDS)]
SCRIPT = f"""
import sys
from reconfig.cli import main
for line in {LINES!r}:
    assert main(line.split()) in (0, 2)
    print(line, sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)
"""


def test_nothing_heavy_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    said = done.stderr.splitlines()
    assert [line for line in said if line.endswith("]")] == [f"{line} []" for line in LINES]


def test_help_takes_less_than_half_a_second() -> None:
    """Of a processor's time: what it takes on the wall depends on what else the machine does."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "reconfig", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(5)) < 0.5
