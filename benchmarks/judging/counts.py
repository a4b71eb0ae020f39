"""Parameters and multiply-adds: the plan's against a count by hand and fvcore's, and how near budgets are met."""

from __future__ import annotations

from collections.abc import Callable

import torch
from fvcore.nn import FlopCountAnalysis, parameter_count
from torch import Tensor, nn

import reconfig
from benchmarks.judging.row import Row, describe


def judge_counts(row: Row, result: nn.Module, plan: reconfig.Plan, images: Tensor) -> None:
    """The plan's parameters and multiply-adds against a count by hand and against fvcore's."""
    row.params_before, row.params, row.flops = plan.params_before, plan.params, plan.flops
    counted = sum(parameter.numel() for parameter in result.parameters())
    by_fvcore = parameter_count(result)[""]
    if not plan.params == counted == by_fvcore:
        row.blame(f"planned {plan.params} parameters, has {counted}, fvcore counts {by_fvcore}")
    try:
        flops = fvcore_flops(result, images)
    except Exception as error:  # a model that cannot be traced is fvcore's limit, not the result's
        row.fvcore_flops = describe(error)
        return
    row.fvcore_flops = "equal" if flops == plan.flops else str(flops)


def judge_budgets(row: Row, planned: Callable[..., reconfig.Plan]) -> None:
    """How near budgets are met, by the plans: what they count was held against fvcore by ``judge_counts``."""
    plan = planned(budget="params")
    row.params_miss = plan.params / plan.params_before - 1
    plan = planned(budget="flops")
    row.flops_miss = plan.flops / plan.flops_before - 1


def fvcore_flops(model: nn.Module, images: Tensor) -> int:
    """Multiply-adds of ``model`` in eval mode, as fvcore counts them."""
    analysis = FlopCountAnalysis(model.eval(), images).unsupported_ops_warnings(False)
    with torch.no_grad():
        return int(analysis.uncalled_modules_warnings(False).tracer_warnings("none").total())
