"""What a user calls: ``apply``, ``plan``, ``stages`` and ``count``."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from reconfig.planning.budget import Budget
from reconfig.planning.make import Example, make_plan
from reconfig.planning.measured import Counted, count_stages
from reconfig.planning.outputs import Outputs
from reconfig.planning.plan import Plan
from reconfig.planning.reading import read_model
from reconfig.rule import Rule
from reconfig.staging.stages import Stages
from reconfig.trace.example import check_model


def apply(
    model: nn.Module,
    rule: str | Rule = "10-10-4",
    *,
    gamma: float = 1.0,
    budget: Budget | None = None,
    example_input: Example | None = None,
    weights: str = "fresh",
    stages: Mapping[str, int] | None = None,
    outputs: Outputs = "keep",
    strict: bool = False,
) -> nn.Module:
    """The -R variant of ``model``: ``plan(model, ...).apply(model)``; takes and raises what ``plan`` does.

    WRN-34-R of the paper, out of WRN-34-10:

    >>> import reconfig
    >>> from reconfig import zoo
    >>> robust = reconfig.apply(zoo.wrn34_10(), "10-10-4", gamma=2)
    >>> sum(parameter.numel() for parameter in robust.parameters())
    68116698

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
        outputs=outputs,
        strict=strict,
    ).apply(model)


def plan(
    model: nn.Module,
    rule: str | Rule = "10-10-4",
    *,
    gamma: float = 1.0,
    budget: Budget | None = None,
    example_input: Example | None = None,
    weights: str = "fresh",
    stages: Mapping[str, int] | None = None,
    outputs: Outputs = "keep",
    strict: bool = False,
) -> Plan:
    """What ``apply`` would change, without allocating a weight.

    >>> import reconfig
    >>> from reconfig import zoo
    >>> plan = reconfig.plan(zoo.vgg11(), "10-10-4")
    >>> print(plan)
    VGG, rule 10-10-4, gamma 1
    stage  resolution  blocks       width              parameters
    -------------------------------------------------------------
        1       32x32   plain          64                   1,920
        2       16x16   plain         128                  74,112
        3         8x8   plain         256                 886,272
        4         4x4   plain         512               3,542,016
        5         2x2   plain  512 -> 205  4,721,664 -> 1,324,095
    parameters 9,231,114 -> 5,830,475, multiply-adds 153,072,640 -> 139,481,750
    >>> robust = plan.apply(zoo.vgg11())

    Args:
        model: any ``nn.Module`` with convolutions, unwrapped (not DDP, not ``torch.compile(model)``).
        rule: widths in tenths ("10-10-4") or channels ("c216-432-864"), blocks per stage ("d9-7-1"), both
            ("d7-9-3 w10-10-4"), ratios for a budget to scale ("d2:2:1 w2:2.5:1"), or a name in ``reconfig.NAMED``;
            docs/rules.md has every word with its source.
        gamma: factor on the width of every stage (Huang et al. 2021, section 4.4); the stem and the classes stay.
        budget: solve gamma, or the scale of a ratio, for a count: "params" or "flops" (the original's own), a number of
            parameters, or a pair, such as ("flops", 1_000_000_000), with multiply-adds of one example by fvcore's
            count. A ratio needs one.
        example_input: what the model takes, e.g. a tensor (N, 3, 32, 32), or a tuple of tensors; only shapes and dtypes
            count. Left out, timm's configuration or the usual image sizes are tried.
        weights: how the result is filled: "fresh" draws by the law that the original's initialisation followed,
            "inherit" takes the most important channels where a width shrinks and copies where it grows. Copies keep the
            function, except through channel shuffles and standardised weights, and through norms over channels
            (LayerNorm, GroupNorm) unless every channel is copied equally often.
        stages: stage numbers (1 for the first) by module name or pattern, e.g. ``{"layer1": 1, "layer2": 2}``, where
            what ``reconfig.stages`` finds is not what is wanted.
        outputs: what becomes of feature maps that the model returns (of a backbone): "keep" leaves their channels as
            they are and lists them in ``plan.frozen``, "scale" scales them like any other. Class scores stay, and so
            do the channels that the last layer makes for the output alone (an image, a map of classes).
        strict: raise where a width that the rule asks to scale has to stay as it is.

    Raises:
        RuleError, DepthError: the rule does not parse or does not fit the model's stages.
        ModelError: the model cannot be worked with; also where a copy would still reach it through an attribute (a
            closure over a global, an object that says it is never copied), before anything is run.
        InputError: the example input cannot be worked with.
        BudgetError: the budget cannot be met, or a ratio has none.
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
        outputs=outputs,
        strict=strict,
    )


def stages(model: nn.Module, example_input: Example | None = None) -> Stages:
    """The stages that reconfig sees in ``model``; printing them shows a table.

    Raises:
        ModelError, InputError: the model or the example input cannot be worked with.
    """
    return read_model(check_model(model), example_input).placement.stages


def count(model: nn.Module, example_input: Example | None = None) -> Counted:
    """Parameters and multiply-adds of one example, by fvcore's count, in all and by stage; printing them shows a table.

    Raises:
        ModelError, InputError: the model or the example input cannot be worked with.
        VerifyError: fvcore cannot trace the model.
    """
    return count_stages(check_model(model), read_model(model, example_input))
