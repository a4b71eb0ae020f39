"""``reconfig apply MODEL RULE -o FILE``: the network of a rule, as a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from reconfig.cli.options import Json, Model, Planning, RuleOrPlan
from reconfig.cli.printing import aside, check_can_write, print_json


@dataclass(frozen=True)
class Apply:
    """Make the network of a rule and store it, with its plan, as safetensors."""

    model: Model
    rule: RuleOrPlan
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE.safetensors")]
    """The file; `reconfig.load` reads it back."""
    planning: Planning = field(default_factory=Planning)
    seed: int = 0
    """Of the random numbers that fresh weights are drawn from, the original's own too."""
    json: Json = False

    def __call__(self) -> None:
        import torch

        import reconfig

        check_can_write(self.out, ".safetensors")
        torch.manual_seed(self.seed)
        model, plan = self.planning.network_and_plan(self.model, self.rule)
        with aside():
            reconfig.save(plan.apply(model), self.out, plan)
        if self.json:
            print_json({"written": str(self.out), "plan": json.loads(plan.to_json())})
        else:
            print(plan)
            print(f"written to {self.out}, which is read by")
            print(f"    reconfig.load({str(self.out)!r}, lambda: reconfig.networks.build({self.model!r}))")
