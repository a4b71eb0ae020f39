"""Find the best stage widths and depths of a network at a fixed cost, by short adversarial trainings.

    python benchmarks/search.py zoo:wrn34_10 --hold params --minutes 600 --data cifar10
    python benchmarks/search.py timm:resnet10t --hold flops --minutes 120 --data PATH
    python benchmarks/search.py "zoo:vgg11 gamma=0.125" --data digits --data.hold-out 300 --minutes 9 \\
        --train.epochs 5 --train.batch 32
    python benchmarks/search.py path/to/net.py:Net --data PATH --address auto --resume

It runs on Ray Tune: on this machine, or with --address on a cluster whose machines see the output folder under one
name. A search that was stopped or killed goes on with --resume. It ends with the few best trained in full beside the
original and "10-10-4", and a page, landscape.html. See docs/search.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from reconfig.harness import command
from reconfig.harness.options import SweepOptions
from reconfig.harness.search import Search


@dataclass(frozen=True)
class _Run:
    search: Annotated[Search, tyro.conf.arg(name="")]
    options: Annotated[SweepOptions, tyro.conf.arg(name="")] = field(
        default_factory=lambda: SweepOptions(out=Path("runs") / "search")
    )


def main() -> int:
    """Search as the command line says; the exit code."""
    wanted = command.asked(lambda: tyro.cli(_Run, description=__doc__))

    from reconfig.harness.studies import searching  # only now, so that --help does not wait for torch

    again = [] if wanted.options.resume else ["--resume"]
    return command.finish(lambda: searching.run(wanted.search, wanted.options), *again)


if __name__ == "__main__":
    sys.exit(main())
