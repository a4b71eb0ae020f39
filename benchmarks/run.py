"""Train an original network and its reconfigured variant adversarially, and compare them.

    python benchmarks/run.py vgg11 --data PATH
    python benchmarks/run.py vgg11 --data PATH --train.epochs 30 --out runs/short
    python benchmarks/run.py vgg11 --data PATH --resume
    accelerate launch --multi-gpu benchmarks/run.py vgg11 --data PATH
    torchrun --nproc_per_node 2 benchmarks/run.py vgg11 --data PATH --compute.device cpu

(`accelerate launch --cpu` starts one process unless MPI is there.)

`run.py --help` lists the recipes, `run.py RECIPE --help` the fields of one; every field is a flag.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recipes import discover
from reconfig.harness import command
from reconfig.harness.experiment import Experiment
from reconfig.harness.options import Options


@dataclass(frozen=True)
class _Run:
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    options: Annotated[Options, tyro.conf.arg(name="")]


def main() -> int:
    """Run what the command line asks for; the exit code."""
    choices = {
        name: (_summary(recipe.__doc__), _Run(recipe(), Options(out=Path("runs") / name)))
        for name, recipe in discover().items()
    }
    wanted = tyro.extras.overridable_config_cli(choices, description=__doc__)

    from reconfig.harness.studies import comparison  # only now, so that --help does not wait for torch

    again = [] if wanted.options.resume else ["--resume"]
    return command.finish(lambda: comparison.run(wanted.experiment, **vars(wanted.options)), *again)


def _summary(docstring: str | None) -> str:
    return (docstring or "").strip().splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
