"""Train an original network and its reconfigured variant adversarially, and compare them.

    python benchmarks/run.py vgg11 --data PATH
    python benchmarks/run.py vgg11 --data PATH --train.epochs 30 --out runs/short
    python benchmarks/run.py vgg11 --data PATH --resume
    python benchmarks/run.py any --original timm:resnet10t --rule 10-10-10-4 --data PATH
    python benchmarks/run.py any --original path/to/net.py:Net --rule 10-4 --data PATH
    accelerate launch --multi-gpu benchmarks/run.py vgg11 --data PATH
    torchrun --nproc_per_node 2 benchmarks/run.py vgg11 --data PATH --compute.device cpu

(`accelerate launch --cpu` starts one process unless MPI is there.)

`run.py --help` lists the recipes, `run.py RECIPE --help` the fields of one; every field is a flag. `any` takes every
network that has a name: see docs/harness.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recipes import discover
from reconfig.harness import command
from reconfig.harness.experiment import AnyNetwork, Experiment
from reconfig.harness.options import Options


@dataclass(frozen=True)
class _Run:
    wanted: Annotated[Experiment, tyro.conf.arg(name="")]
    options: Annotated[Options, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class _RunAny:
    wanted: Annotated[AnyNetwork, tyro.conf.arg(name="")]
    options: Annotated[Options, tyro.conf.arg(name="")]


def main() -> int:
    """Run what the command line asks for; the exit code."""
    choices: dict[str, tuple[str, _Run | _RunAny]] = {
        name: (_summary(recipe.__doc__), _Run(recipe(), _into(name))) for name, recipe in discover().items()
    }
    choices["any"] = (_summary(AnyNetwork.__doc__), _RunAny(AnyNetwork(original=tyro.MISSING), _into("any")))
    run = command.asked(lambda: tyro.extras.overridable_config_cli(choices, description=__doc__))

    from reconfig.harness.studies import comparison  # only now, so that --help does not wait for torch

    def train() -> None:
        wanted = run.wanted if isinstance(run.wanted, Experiment) else run.wanted.experiment()
        comparison.run(wanted, **vars(run.options))

    return command.finish(train, *([] if run.options.resume else ["--resume"]))


def _into(name: str) -> Options:
    return Options(out=Path("runs") / name)


def _summary(docstring: str | None) -> str:
    return (docstring or "").strip().splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
