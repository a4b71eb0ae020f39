"""Spread over seeds, and whether two networks differ by more than chance.

Networks are compared in pairs: seed by seed (same seed: same order of images, same held-out part) or image by image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class Summary:
    """A value measured once or, over seeds, several times."""

    mean: float
    std: float | None
    """Sample standard deviation (n − 1); None for a single value."""
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + (f" ± {self.std:.2f}" if self.std is not None else "")


@dataclass(frozen=True)
class Difference:
    """What the second of two networks has more than the first, and the p-value of a two-sided test that it is 0."""

    mean: float
    p: float | None
    """None where there is nothing to test with."""
    test: str | None
    images: tuple[int, ...] = ()
    """On how many images it is, as far as that is known; several numbers where the two networks differ in it."""

    def __str__(self) -> str:
        return f"{self.mean:+.2f}" + (f" (p={self.p:.2g})" if self.p is not None else "")


def summary(values: Sequence[float]) -> Summary:
    """Mean and spread of at least one value."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(float(np.mean(values)), spread, len(values))


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """In which interval the mean lies that ``values`` are drawn about, by Student's t; None for a single value.

    Of paired differences it is the interval of the paired t-test: 0 lies outside where p is below 1 - ``level``.
    """
    if len(values) < 2:
        return None
    middle, error = float(np.mean(values)), float(stats.sem(values))
    reach = error * float(stats.t.isf((1 - level) / 2, len(values) - 1))
    return middle - reach, middle + reach


def over_seeds(first: Sequence[float], second: Sequence[float]) -> Difference:
    """The mean of ``second`` − ``first``, paired by seed, with the paired t-test where there are two seeds or more.

    Where every pair differs by the same amount the test is undefined, so there is no p.
    """
    gains = np.subtract(second, first)
    mean = float(gains.mean())
    rounding = 1e-9 * np.abs(gains).max(initial=1.0)
    if len(gains) < 2 or np.ptp(gains) <= rounding:
        return Difference(mean, None, None)
    p = float(stats.ttest_rel(second, first).pvalue)
    return Difference(mean, p, f"paired t-test over {len(gains)} seeds")


def over_images(first: ArrayLike, second: ArrayLike) -> Difference:
    """The difference in accuracy (in points of %) of two networks on the same images, with McNemar's exact test.

    ``first`` and ``second`` (bool [N]) say for each image whether the network is right on it. Under the null
    hypothesis the images on which exactly one network is right are shared out by a fair coin (McNemar, 1947).
    """
    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    won, lost = int((other & ~one).sum()), int((one & ~other).sum())
    p = float(stats.binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0
    return Difference(100 * (won - lost) / len(one), p, f"McNemar's exact test over {len(one):,} images")
