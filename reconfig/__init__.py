"""reconfig: make convolutional networks more robust by their shape.

    robust = reconfig.apply(model, rule="10-10-4", gamma=2)
    plan = reconfig.plan(model, "10-10-4", budget="params")
    print(reconfig.stages(model))

After Huang et al., Exploring Architectural Ingredients of Adversarially Robust Deep Neural Networks, NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from reconfig.errors import (
    BudgetError,
    DepthError,
    ExportError,
    FrozenError,
    InputError,
    ModelError,
    PlanError,
    ReconfigError,
    RuleError,
    StageError,
    VerifyError,
)
from reconfig.export import load, save
from reconfig.inputs import check_model
from reconfig.ops import register
from reconfig.plan import Plan, make_plan, read_model
from reconfig.rule import NAMED, Rule
from reconfig.stages import Stage, Stages

__version__ = "0.1.0"

__all__ = [
    "NAMED",
    "BudgetError",
    "DepthError",
    "ExportError",
    "FrozenError",
    "InputError",
    "ModelError",
    "Plan",
    "PlanError",
    "ReconfigError",
    "Rule",
    "RuleError",
    "Stage",
    "StageError",
    "Stages",
    "VerifyError",
    "apply",
    "load",
    "plan",
    "register",
    "save",
    "stages",
]

Example = Tensor | tuple[Tensor, ...]


def apply(
    model: nn.Module,
    rule: str | Rule = "10-10-4",
    *,
    gamma: float = 1.0,
    budget: int | str | None = None,
    example_input: Example | None = None,
    weights: str = "fresh",
    stages: Mapping[str, int] | None = None,
    strict: bool = False,
) -> nn.Module:
    """The -R variant of ``model``: ``plan(model, ...).apply(model)``; takes and raises what ``plan`` does.

    Returns:
        A new network of the same class, with the same forward, names, device, dtype and train/eval modes, a copy of
        which was run forward and backward. ``model`` is not touched, nor is any random state, and nothing that the
        network reaches belongs to it. Like a deep copy it is not compiled where ``model`` was compiled in place
        (``model.compile()``, ``model.forward = torch.compile(model.forward)``): compile it anew. Caches of functions
        and cached properties start empty, and hooks stay with ``model``.
    """
    return plan(
        model,
        rule,
        gamma=gamma,
        budget=budget,
        example_input=example_input,
        weights=weights,
        stages=stages,
        strict=strict,
    ).apply(model)


def plan(
    model: nn.Module,
    rule: str | Rule = "10-10-4",
    *,
    gamma: float = 1.0,
    budget: int | str | None = None,
    example_input: Example | None = None,
    weights: str = "fresh",
    stages: Mapping[str, int] | None = None,
    strict: bool = False,
) -> Plan:
    """What ``apply`` would change, without allocating a weight.

    Args:
        model: any ``nn.Module`` with convolutions, unwrapped (not DDP, not ``torch.compile(model)``).
        rule: widths in tenths ("10-10-4"), blocks per stage ("d9-7-1"), both ("d7-9-3 w10-10-4"), or a name in
            ``reconfig.NAMED`` (Huang et al. 2021, section 4).
        gamma: factor on the width of every stage (section 4.4); the stem and the classes stay.
        budget: solve gamma for a count: "params" or "flops" (the original's own), or a number of parameters.
        example_input: what the model takes, e.g. a tensor (N, 3, 32, 32), or a tuple of tensors; only shapes and dtypes
            count. Left out, timm's configuration or the usual image sizes are tried.
        weights: how the result is filled: "fresh" draws by the law that the original's initialisation followed,
            "inherit" takes the most important channels where a width shrinks and copies where it grows. Copies keep the
            function, except through channel shuffles and standardised weights, and through norms over channels
            (LayerNorm, GroupNorm) unless every channel is copied equally often.
        stages: stage numbers (1 for the first) by module name or pattern, e.g. ``{"layer1": 1, "layer2": 2}``, where
            what ``reconfig.stages`` finds is not what is wanted.
        strict: raise where a width that the rule asks to scale has to stay as it is.

    Raises:
        RuleError, DepthError: the rule does not parse or does not fit the model's stages.
        ModelError: the model cannot be worked with; also where a copy would still reach it through an attribute (a
            closure over a global, an object that says it is never copied), before anything is run.
        InputError: the example input cannot be worked with.
        BudgetError: the budget cannot be met.
        StageError: ``stages`` does not fit the model.
        FrozenError: ``strict`` and something had to stay.
        VerifyError: the rewritten network does not do what was planned.
    """
    return make_plan(
        model,
        rule,
        gamma=gamma,
        budget=budget,
        example_input=example_input,
        weights=weights,
        stages=stages,
        strict=strict,
    )


def stages(model: nn.Module, example_input: Example | None = None) -> Stages:
    """The stages that reconfig sees in ``model``; printing them shows a table.

    Raises:
        ModelError, InputError: the model or the example input cannot be worked with.
    """
    return read_model(check_model(model), example_input).placement.stages
