"""Parameters and multiply-adds: the plan's against a count by hand and fvcore's, and how near budgets are met."""

from __future__ import annotations

import torch
from fvcore.nn import FlopCountAnalysis, parameter_count
from torch import Tensor, nn

import reconfig
from benchmarks.judging.row import RULE, Row, describe


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


def judge_budgets(row: Row, model: nn.Module, images: Tensor) -> None:
    """How near budgets are met: parameters by the plan (judged elsewhere), FLOPs as fvcore counts the result."""
    plan = reconfig.plan(model, RULE, budget="params", example_input=images)
    row.params_miss = plan.params / plan.params_before - 1
    plan = reconfig.plan(model, RULE, budget="flops", example_input=images)
    row.flops_miss = plan.flops / plan.flops_before - 1
    try:
        row.flops_miss = fvcore_flops(plan.apply(model), images) / fvcore_flops(model, images) - 1
    except (RuntimeError, KeyError, AssertionError, TypeError):  # fvcore cannot trace some: judge_counts says so
        return


def fvcore_flops(model: nn.Module, images: Tensor) -> int:
    """Multiply-adds of ``model`` in eval mode, as fvcore counts them."""
    analysis = FlopCountAnalysis(model.eval(), images).unsupported_ops_warnings(False)
    with torch.no_grad():
        return int(analysis.uncalled_modules_warnings(False).tracer_warnings("none").total())
