"""Depths that a rule has in a ratio: the whole blocks that come nearest to a budget, or to a balance with the widths.

A ratio of depths alone is scaled until the model counts what it should. Beside a ratio of widths, every depth can meet
the budget, at widths of its own; then that depth is taken at which the sum of the blocks is to the sum of the widening
factors as the rule says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from reconfig.errors import BudgetError
from reconfig.planning.budget import Target, solve_gamma
from reconfig.planning.counts import Count, Counts
from reconfig.planning.depth import least_depths
from reconfig.planning.outputs import Outputs, kept_widths
from reconfig.planning.reading import Reading
from reconfig.planning.scaling import Scaling
from reconfig.rule import Rule, widening
from reconfig.staging.stages import Stages

Depths = tuple[int, ...]
_MOST_BLOCKS = 512  # WRN-1000 has 498: who asks for more has miscounted
_BISECTIONS = 40  # far below the distance of two scales that differ in a block


def solve_depth(
    rule: Rule, original: Reading, target: Target, at_depth: Callable[[Rule], Reading], outputs: Outputs
) -> Rule:
    """``rule`` with whole depths in place of their ratio.

    Args:
        rule: one with a ratio of depths.
        original: the model as it is.
        target: the budget.
        at_depth: reads the model at the depth of a rule.
        outputs: what becomes of feature maps that the model returns.

    Raises:
        BudgetError: where no depth meets the budget.
        DepthError: where a stage cannot have such depths.
    """
    stages = original.placement.stages
    rule.ratios([stage.width for stage in stages])  # of a rule that does not fit, its own words are quoted
    ratios = rule.depth_ratios(len(stages))
    least = least_depths(original.skeleton, original.structure.captures[0], stages)
    wanted = _wanted(rule, stages)

    def at(scale: float) -> Depths:
        wished = (math.floor(scale * ratio + 0.5) for ratio in ratios)
        return tuple(max(fewest, depth) for fewest, depth in zip(least, wished, strict=True))

    def settled(depths: Depths) -> Rule:
        return replace(rule, depth=depths, depth_ratio=None, balance=None)

    @cache
    def excess(depths: Depths) -> float:
        """How much too deep a network of these depths is; negative where it is too shallow."""
        whole = settled(depths)
        reading = at_depth(whole)
        scaling = Scaling(reading, whole, kept_widths(reading, outputs), reading.structure.widths.divisors)
        counts = Counts(reading)
        count = counts.params if target.unit == "params" else counts.flops
        if wanted is None:
            return count(scaling(1.0)) / target.number - 1
        return _unbalance(depths, reading, scaling, count, target) - math.log(wanted)

    if wanted is None and (over := excess(at(0.0))) > 0:
        raise BudgetError(
            f"budget of {target.number:,} {target.unit} is below what rule {rule} can reach: with the fewest blocks "
            f"the model has {round((over + 1) * target.number):,}; ask for at least that, or let the widths follow, as "
            "in 'd2:2:1 w1:1:1'"
        )
    try:
        return settled(_nearest(at, excess, 1 / max(ratios)))
    except OverflowError:
        raise BudgetError(
            f"budget of {target.number:,} {target.unit} is out of reach of rule {rule}: {_MOST_BLOCKS} blocks do not "
            "meet it; ask for less"
        ) from None


def _wanted(rule: Rule, stages: Stages) -> float | None:
    """The sum of depths over that of widening factors to come near; None where the widths are given."""
    if not rule.solves_gamma:
        return None
    if rule.balance is not None:
        return rule.balance[0] / rule.balance[1]
    blocks = sum(len(stage.blocks) for stage in stages)
    return max(1, blocks) / widening([stage.width for stage in stages])


def _unbalance(depths: Depths, reading: Reading, scaling: Scaling, count: Count, target: Target) -> float:
    """The logarithm of the sum of the depths over that of the widening factors with which they meet the budget."""
    try:
        sizes = scaling(solve_gamma(count, scaling, target))
    except BudgetError:
        # Too deep for any width, or too shallow.
        return math.inf if count(scaling(1e-9)) > target.number else -math.inf
    widths = [reading.structure.widths.size(extent, sizes) for extent in reading.placement.outputs]
    return math.log(sum(depths) / widening(widths))


def _nearest(at: Callable[[float], Depths], excess: Callable[[Depths], float], start: float) -> Depths:
    """The depths with the least excess, which rises with the scale; searched from ``start`` up.

    Raises:
        OverflowError: where no number of blocks is enough.
    """
    low, high = 0.0, start
    while excess(at(high)) < 0:
        low, high = high, high * 2
        if sum(at(high)) > _MOST_BLOCKS:
            raise OverflowError
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(at(middle)) < 0 else (low, middle)
    return min((at(low), at(high)), key=lambda depths: abs(excess(depths)))
