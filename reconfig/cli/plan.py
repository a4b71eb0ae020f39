"""``reconfig plan MODEL RULE``: what would change, before anything does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from reconfig.cli.options import Json, Model, Planning, RuleOrPlan
from reconfig.cli.printing import check_can_write, write


@dataclass(frozen=True)
class Plan:
    """Show what a rule would change in a network, and what keeps its width, why, and what to do about it."""

    model: Model
    rule: RuleOrPlan
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="PLAN.json")] = None
    """Store the plan, to stand where a rule does."""
    planning: Planning = field(default_factory=Planning)
    json: Json = False

    def __call__(self) -> None:
        if self.out:
            check_can_write(self.out, ".json")
        _, plan = self.planning.network_and_plan(self.model, self.rule)
        if self.out:
            write(self.out, plan.to_json())
        print(plan.to_json() if self.json else plan)
