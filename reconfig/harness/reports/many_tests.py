"""Several tests at once, and what a number of seeds can see at all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special, stats

ALPHA = 0.05
"""How often, at most, any of several differences that are none is called one."""
POWER = 0.8
"""How often a difference of the size that ``detectable`` gives is found."""


def holm(found: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number by Holm (1979), in the same order; None, where there was no test, stays.

    Rejecting what comes out below ``ALPHA`` is wrong anywhere in at most that part of all such families, however the
    tests depend on one another: which those of rules against one original do.
    """
    tested = np.array([p for p in found if p is not None])
    order = tested.argsort()
    steps = np.arange(len(tested), 0, -1)  # the smallest is one of all, the next one of those that are left
    corrected = np.empty_like(tested)
    corrected[order] = np.minimum(np.maximum.accumulate(tested[order] * steps), 1)
    values = iter(corrected.tolist())
    return [None if p is None else next(values) for p in found]


def detectable(spread: float | None, seeds: int, tests: int) -> float | None:
    """The least true difference that a paired t-test over ``seeds`` finds in ``POWER`` of all studies.

    By the noncentral t distribution (Cohen, 1988, chapter 2), at ``ALPHA`` / ``tests``: the level of Holm's first step,
    which is the strictest. ``spread`` is the standard deviation of the differences, here taken as that of the sample.
    That the test could find the difference with the wrong sign is left out, which is next to nothing of the power.
    None where there is no spread to go by.
    """
    if not spread or seeds < 2:
        return None
    critical = stats.t.isf(ALPHA / tests / 2, seeds - 1)
    # statsmodels' TTestPower solves the same, but for few seeds at small levels its answer is wrong without a word.
    return spread * float(special.nctdtrinc(seeds - 1, 1 - POWER, critical)) / math.sqrt(seeds)
