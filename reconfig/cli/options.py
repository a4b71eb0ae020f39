"""What several commands take: a network, and how it is planned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from reconfig.cli.printing import aside
from reconfig.cli.values import (
    Shapes,
    one_word,
    read_budget,
    read_shapes,
    read_stages,
    show_budget,
    show_shapes,
    show_stages,
)
from reconfig.errors import PlanError, RuleError
from reconfig.networks.nearest import nearest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from reconfig.planning.plan import Plan

Model = Annotated[
    str,
    tyro.conf.Positional,
    tyro.conf.arg(
        metavar="MODEL",
        help="timm:resnet50, torchvision:resnet18, zoo:vgg11, package.module:Factory, file.py:Net, or "
        "hub:owner/repo:name; with arguments as in 'zoo:wrn?depth=28&widen=4'.",
    ),
]
RuleOrPlan = Annotated[
    str,
    tyro.conf.Positional,
    tyro.conf.arg(
        metavar="RULE",
        help="Widths in tenths (10-10-4), blocks (d9-7-1), both ('d7-9-3 w10-10-4'), a name (`reconfig rules`), or a "
        "file that `reconfig plan -o` wrote.",
    ),
]
Input = Annotated[
    Any,
    one_word("3x32x32", read_shapes, show_shapes),
    tyro.conf.arg(help="What the network takes, without the batch; several with commas between."),
]
Json = Annotated[bool, tyro.conf.arg(help="Print JSON.")]


@dataclass(frozen=True)
class Planning:
    """How a network is planned; a stored plan has all of this in it."""

    gamma: float = 1.0
    """Factor on the width of every stage."""
    budget: Annotated[Any, one_word("BUDGET", read_budget, show_budget)] = None
    """Solve gamma for params or flops (the original's own), a number of parameters, or as in flops:1e9."""
    input: Input = None
    stages: Annotated[Any, one_word("NAME=STAGE,...", read_stages, show_stages)] = None
    """Stage numbers by module name or pattern, as in layer1=1,layer2=2."""
    outputs: Literal["keep", "scale"] = "keep"
    """What becomes of feature maps that the network returns."""
    weights: Literal["fresh", "inherit"] = "fresh"
    """How the result is filled: drawn anew, or out of the original's weights."""
    strict: bool = False
    """Fail where a width that the rule asks to scale has to stay."""

    def arguments(self, model: nn.Module) -> dict[str, Any]:
        """The keyword arguments of ``reconfig.plan``."""
        return {
            "gamma": self.gamma,
            "budget": self.budget,
            "example_input": example(model, self.input),
            "stages": self.stages,
            "outputs": self.outputs,
            "weights": self.weights,
            "strict": self.strict,
        }

    def network_and_plan(self, model: str, rule: str) -> tuple[nn.Module, Plan]:
        """The network called ``model``, and its plan by ``rule``, which may be a file with a stored plan.

        Raises:
            ReconfigError: as ``networks.build`` and ``plan`` do; a rule that is none is found before anything is made.
        """
        stored = self.stored(rule)
        from reconfig import networks

        with aside():
            built = networks.build(model)
            return built, self._plan(built, rule, stored)

    def plan(self, model: nn.Module, rule: str) -> Plan:
        """The plan of ``rule`` for ``model``, or the one that was stored in the file ``rule``.

        Raises:
            RuleError: it is no rule, nor a file.
            PlanError: the file holds no plan, or one for another network; or an option was given beside it.
            ReconfigError: whatever ``reconfig.plan`` raises.
        """
        return self._plan(model, rule, self.stored(rule))

    def stored(self, rule: str) -> Plan | None:
        """The plan in the file that ``rule`` names; None where it is a rule.

        Raises:
            RuleError, PlanError: as ``plan`` does.
        """
        path = Path(rule)
        if path.suffix != ".json" and not (path.is_file() and not _is_rule(rule)):
            check_rule(rule)
            return None
        if self != Planning():
            raise PlanError(
                f"{rule} is a stored plan, which has its gamma, budget, input, stages, outputs, weights and strictness "
                "in it: leave these options out, or give a rule"
            )
        return read_plan(path)

    def _plan(self, model: nn.Module, rule: str, stored: Plan | None) -> Plan:
        import reconfig

        if stored is None:
            return reconfig.plan(model, rule, **self.arguments(model))
        stored.check_fits(model)
        return stored


def _is_rule(text: str) -> bool:
    from reconfig.rule import Rule

    try:
        Rule.parse(text)
    except RuleError:
        return False
    return True


def check_rule(text: str) -> None:
    """See that ``text`` is a rule.

    Raises:
        RuleError: it is none; the message has the nearest name.
    """
    from reconfig.rule import NAMED, Rule

    try:
        Rule.parse(text)
    except RuleError as error:
        near = nearest(text, NAMED)
        meant = f"; did you mean {near[0]!r}? `reconfig rules` lists all" if near else ""
        raise type(error)(f"{error}{meant}") from error


def read_plan(path: Path) -> Plan:
    """The plan in a file.

    Raises:
        PlanError: the file is missing or holds no plan.
    """
    import reconfig

    try:
        return reconfig.Plan.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        near = nearest(path.name, (found.name for found in path.parent.glob("*.json")))
        meant = (
            f"the nearest is {path.with_name(near[0])}" if near else f"`reconfig plan MODEL RULE -o {path}` makes it"
        )
        raise PlanError(f"there is no plan {path}: {meant}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"cannot read a plan from {path}: {error}; `reconfig plan MODEL RULE -o` makes one") from error
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def example(model: nn.Module, shapes: Shapes | None) -> tuple[Tensor, ...] | None:
    """Inputs of these shapes, with a batch, in the model's own dtype; on the meta device."""
    if shapes is None:
        return None
    import torch

    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    return tuple(torch.empty((1, *shape), dtype=dtype, device="meta") for shape in shapes)
