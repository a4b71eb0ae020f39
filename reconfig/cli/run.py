"""``reconfig run train.py --its own --arguments``: a script of anybody's, unchanged, on a rewritten network."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from reconfig.cli.options import Planning
from reconfig.cli.raw import Raw


@dataclass(frozen=True)
class Run(Raw):
    """Run a script as it is, on the rewritten network: reconfig run [options] train.py --its own --arguments.

    The network is found when the script makes it or first uses it, its plan is printed (on stderr), and it is rewritten
    where it stands. Where none is found, or several, or it cannot be rewritten, the script is ended. Also as in
    `torchrun ... -m reconfig run [options] train.py`.
    """

    rule: Annotated[str, tyro.conf.arg(metavar="RULE")] = "10-10-4"
    """As of `reconfig plan`: widths in tenths, blocks, a named rule, or a file that `reconfig plan -o` wrote."""
    model: Annotated[str | None, tyro.conf.arg(metavar="WHERE:NAME")] = None
    """The network's class, or the function that makes it: models.resnet:ResNet18, train.py:Net; else looked for."""
    dry_run: bool = False
    """Print the plan, and end the script when its network is there."""
    planning: Planning = field(default_factory=Planning)

    def __call__(self) -> int:
        from reconfig.rule import Rule
        from reconfig.scripts.chosen import Chosen
        from reconfig.scripts.job import Job
        from reconfig.scripts.program import Program
        from reconfig.scripts.running import run

        if not Path(self.rule).is_file():
            Rule.parse(self.rule)
        job = Job(
            plan=partial(self.planning.plan, rule=self.rule),
            chosen=None if self.model is None else Chosen.parse(self.model),
            dry_run=self.dry_run,
            command=tuple(sys.argv[1 : len(sys.argv) - len(self.rest)]),
        )
        return run(Program.read(self.rest), job)
