"""``reconfig export MODEL RULE -o FILE``: the -R network in a file that other people's code reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from reconfig.cli.options import Json, Model, Planning, RuleOrPlan, example
from reconfig.cli.printing import aside, print_json

if TYPE_CHECKING:
    from torch import nn

    from reconfig.planning.plan import Plan


@dataclass(frozen=True)
class Export:
    """Write the rewritten network as code, ONNX, a program of torch.export, or safetensors."""

    model: Model
    rule: Annotated[
        RuleOrPlan,
        tyro.conf.arg(
            metavar="RULE",
            help="A rule, a file with a plan, or a file that `reconfig apply` wrote, which has plan and weights in it.",
        ),
    ]
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")]
    """The file; its ending says the format where --to does not: .py, .onnx, .pt2 or .safetensors."""
    to: Literal["code", "onnx", "safetensors", "torch-export"] | None = None
    """The format."""
    weights_from: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Weights that the rewritten network was trained to: a state dict, as safetensors or by torch.save."""
    planning: Planning = field(default_factory=Planning)
    json: Json = False

    def __call__(self) -> None:
        from reconfig import networks
        from reconfig.export.formats import FORMATS, format_of
        from reconfig.export.weights import fill

        chosen = FORMATS[self.to] if self.to else format_of(self.out)
        with aside():
            original = networks.build(self.model)
            network, plan, trained = self._network(original)
            if self.weights_from is not None:
                fill(network, self.weights_from)
            written = chosen.write(network, self.out, plan, example_input=example(original, self.planning.input))
        notes = list(written.notes)
        if not trained and self.weights_from is None:
            notes.append(f"the weights are {_OF[plan.weights]}: --weights-from FILE takes trained ones")
        if self.json:
            print_json({"files": list(map(str, written.files)), "takes": written.takes, "notes": notes})
            return
        print(f"Wrote {' and '.join(map(str, written.files))}, which takes {', '.join(written.takes)}")
        for note in notes:
            print(f"note: {note}")

    def _network(self, original: nn.Module) -> tuple[nn.Module, Plan, bool]:
        """The rewritten network, its plan, and whether its weights came out of a file.

        Raises:
            ReconfigError: where it cannot be had.
        """
        import reconfig
        from reconfig.errors import PlanError
        from reconfig.saving import stored_plan

        if not self.rule.endswith(".safetensors"):
            plan = self.planning.plan(original, self.rule)
            return plan.apply(original), plan, False
        stored = stored_plan(self.rule)
        if stored is None:
            raise PlanError(f"{self.rule} was written without a plan: `reconfig apply MODEL RULE -o FILE` writes both")
        if self.planning != Planning():
            raise PlanError(f"{self.rule} has its plan in it: leave gamma, budget and the like out, or give a rule")
        return reconfig.load(self.rule, lambda: original), stored, True


_OF = {"fresh": "drawn anew", "inherit": "those of the original"}
