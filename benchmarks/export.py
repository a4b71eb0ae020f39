"""Write a network of a finished run for others: as a safetensors file with its plan, or for RobustBench.

    python benchmarks/export.py runs/vgg11 vgg11-r.safetensors
    python benchmarks/export.py runs/wrn34 exported --to robustbench --name Doe2026Narrow --authors "Jane Doe"

A safetensors file is read back by reconfig.load, as the command says at its end. For RobustBench, OUT is a folder,
which gets a state dict that its RobustWideResNet loads, a model card and the entry for its model zoo.
"""

from __future__ import annotations

import sys

import tyro

from reconfig.harness import command
from reconfig.harness.options import ExportOptions


def main() -> int:
    """Export what the command line asks for; the exit code."""
    options = tyro.cli(ExportOptions, description=__doc__)

    def export() -> None:
        from reconfig.harness.studies import export  # only now, so that --help does not wait for torch

        print("\n".join(export.run(options)))

    return command.finish(export)


if __name__ == "__main__":
    sys.exit(main())
