"""One model rewritten, and the result judged from outside."""

from __future__ import annotations

import gc
import json
import time
from functools import partial

from torch import Tensor, nn

import reconfig
from benchmarks.judging.counts import judge_budgets, judge_counts
from benchmarks.judging.models import Entry, build
from benchmarks.judging.row import RULE, Row, describe
from benchmarks.judging.sight import Sight, fingerprint, look, same_outputs, timed
from benchmarks.judging.stages import judge_stages
from benchmarks.judging.training import train
from benchmarks.judging.widths import census, judge_exemptions, judge_widths
from reconfig.planning.outputs import Outputs
from reconfig.planning.reading import read_model

CENSUS_GAMMA = 1.5  # asks every stage to change, so that every frozen width shows


def row_of(entry: Entry, gamma: float) -> Row:
    """``judge`` with what it raises as a problem of the row, and the processor time that it took."""
    began = time.process_time()
    try:
        row = judge(entry, gamma)
    except Exception as error:
        row = Row.of(entry, gamma)
        row.blame(describe(error))
    row.seconds = time.process_time() - began
    return row


def judge(entry: Entry, gamma: float = 1.0) -> Row:
    """Everything about one model."""
    row = Row.of(entry, gamma)
    images = entry.examples(1)
    before, stages, plan, result = _rewrite(row, build(entry), images, entry.outputs)
    gc.collect()  # the original is gone, so that a large model and its result need not be held together
    after = look(result, images)
    if not same_outputs(before, after, entry.outputs):
        row.blame(f"outputs of shapes {after.outputs} instead of {before.outputs}")
    if before.finite and not after.finite:
        row.blame("the result's outputs are not finite")
    judge_widths(row, before, after, plan, stages)
    judge_counts(row, result, plan, images)
    row.blame(*train(result, entry, before.outputs[0][-1]))
    return row


def _rewrite(
    row: Row, model: nn.Module, images: Tensor, outputs: Outputs
) -> tuple[Sight, reconfig.Stages, reconfig.Plan, nn.Module]:
    """What was seen of ``model``, its stages, the plan and the result; times, census and oracle go into the row."""
    before = look(model, images)
    reading = read_model(model, images)
    stages = reading.placement.stages
    row.stages = " ".join(f"{stage.reduction}:{stage.width}" for stage in stages)
    row.oracle = judge_stages(model, before, images.shape[-1], stages)
    marks = fingerprint(model)
    planned = partial(reconfig.plan, model, RULE, example_input=images, outputs=outputs)
    row.plan_seconds, plan = timed(lambda: planned(gamma=row.gamma))
    seconds, result = timed(lambda: plan.apply(model))
    row.apply_seconds = row.plan_seconds + seconds
    if fingerprint(model) != marks:
        row.blame("the caller's model or random state is not as it was")
    full = plan if row.gamma == CENSUS_GAMMA else planned(gamma=CENSUS_GAMMA)
    row.groups, reasons = census(full, reading)
    row.frozen, row.reasons = reasons.total(), json.dumps(reasons) if reasons else ""
    judge_exemptions(row, before, full)
    if row.gamma == 1:  # a budget solves gamma itself
        judge_budgets(row, planned)
    return before, stages, plan, result
