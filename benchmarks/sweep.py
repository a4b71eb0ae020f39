"""Train many configurations of a network adversarially, and draw what the paper draws.

    python benchmarks/sweep.py depth-grid --data PATH --gpus-per-run 0.25
    python benchmarks/sweep.py gamma --data PATH --address auto
    python benchmarks/sweep.py compare zoo:wrn34_10 --rules 10-10-4 "d2:2:1 w2:2.5:1" --hold both --seeds 5 --data PATH
    python benchmarks/sweep.py small_wrn --data PATH --here --seeds 3
    python benchmarks/sweep.py small_wrn --data PATH --here --seeds 10 --resume
    python benchmarks/sweep.py variants --data PATH --variants wrn34_10 "wrn34_10 10-10-4" --budget params
    python benchmarks/sweep.py depth-grid --data digits --gamma 0.05 --limit 8 --train.epochs 1

It runs on Ray: on this machine, or with --address on a cluster whose machines see the output folder under one name;
with --here one training after another, without Ray. A sweep that was stopped or killed goes on with --resume, with more
--seeds too. `sweep.py --help` lists the sweeps, `sweep.py SWEEP --help` the fields of one; every field is a flag.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recipes import discover_sweeps
from recipes.sweeps import SWEEPS
from reconfig.harness import command
from reconfig.harness.options import SweepOptions
from reconfig.harness.sweep import Sweep


@dataclass(frozen=True)
class _Run:
    sweep: Annotated[Sweep, tyro.conf.arg(name="")]
    options: Annotated[SweepOptions, tyro.conf.arg(name="")]


def main() -> int:
    """Run what the command line asks for; the exit code."""
    known = {name: (sweep.__doc__, sweep) for name, sweep in SWEEPS.items()}
    known |= {name: (recipe.__doc__, recipe()) for name, recipe in discover_sweeps().items()}
    choices = {
        name: ((said or "").splitlines()[0], _Run(sweep, SweepOptions(out=Path("runs") / name)))
        for name, (said, sweep) in known.items()
    }
    wanted = command.asked(lambda: tyro.extras.overridable_config_cli(choices, description=__doc__))

    from reconfig.harness.studies import sweeping  # only now, so that --help does not wait for torch

    again = [] if wanted.options.resume else ["--resume"]
    return command.finish(lambda: sweeping.run(wanted.sweep, wanted.options), *again)


if __name__ == "__main__":
    sys.exit(main())
