"""Kendall's rank correlation with an interval: how well one figure of networks orders them by another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_SAMPLES = 2000
_COVERED = 95
"""Of the interval, in %."""


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b, from -1 to 1, with the percentiles of its bootstrap over networks."""

    tau: float | None
    """None where one of the two figures is the same for all networks."""
    low: float | None
    high: float | None
    count: int
    """Networks."""

    def __str__(self) -> str:
        if self.tau is None or self.low is None or self.high is None:
            return f"undefined: the same for all {self.count} networks"
        return f"{self.tau:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def tau(figures: Sequence[float], robust: Sequence[float], seed: int = 0) -> Tau:
    """How well ``figures`` order networks by ``robust``, both one a network (Kendall, 1945: tau-b, which knows ties).

    The interval has the middle 95 % of ``seed``'s 2,000 draws of as many networks, with replacement (Efron, 1979).
    Draws in which one of the figures is the same for all do not count.
    """
    one, other = np.asarray(figures, dtype=float), np.asarray(robust, dtype=float)
    found = _tau(one, other)
    if found is None:
        return Tau(None, None, None, len(one))
    draws = np.random.default_rng(seed)
    rows = draws.integers(len(one), size=(_SAMPLES, len(one)))
    drawn = [value for sample in rows if (value := _tau(one[sample], other[sample])) is not None]
    low, high = np.percentile(drawn, [(100 - _COVERED) / 2, (100 + _COVERED) / 2])
    return Tau(found, float(low), float(high), len(one))


def beats(figures: Sequence[float], rival: Sequence[float], robust: Sequence[float], seed: int = 0) -> bool:
    """Whether ``figures`` order networks by ``robust`` better than ``rival`` does in 97.5 % of the draws of ``tau``.

    A figure that is the same for all networks orders nothing, as a tau of 0 would.
    """
    one, other, wanted = (np.asarray(each, dtype=float) for each in (figures, rival, robust))
    rows = np.random.default_rng(seed).integers(len(one), size=(_SAMPLES, len(one)))
    gains = [(_tau(one[row], wanted[row]) or 0.0) - (_tau(other[row], wanted[row]) or 0.0) for row in rows]
    return float(np.percentile(gains, (100 - _COVERED) / 2)) > 0


def _tau(one: np.ndarray, other: np.ndarray) -> float | None:
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(stats.kendalltau(one, other).statistic)
