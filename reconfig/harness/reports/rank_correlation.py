"""Kendall's rank correlation with an interval: how well one figure of networks orders them by another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
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
    if len(figures) < 2 or np.ptp(figures) == 0 or np.ptp(robust) == 0:
        return Tau(None, None, None, len(figures))
    found = float(stats.kendalltau(figures, robust).statistic)
    drawn = _drawn(figures, robust, seed)
    low, high = np.nanpercentile(drawn, [(100 - _COVERED) / 2, (100 + _COVERED) / 2])
    return Tau(found, float(low), float(high), len(figures))


def beats(figures: Sequence[float], rival: Sequence[float], robust: Sequence[float], seed: int = 0) -> bool:
    """Whether ``figures`` order networks by ``robust`` better than ``rival`` does in 97.5 % of the draws of ``tau``.

    A figure that is the same for all networks orders nothing, as a tau of 0 would.
    """
    gains = np.nan_to_num(_drawn(figures, robust, seed)) - np.nan_to_num(_drawn(rival, robust, seed))
    return float(np.percentile(gains, (100 - _COVERED) / 2)) > 0


def _drawn(figures: Sequence[float], robust: Sequence[float], seed: int) -> NDArray[np.float64]:
    """Tau-b of each draw; not a number where it is undefined.

    Of networks that are drawn several times, each pair counts as often as both were drawn, and is a tie with itself.
    """
    rows = np.random.default_rng(seed).integers(len(figures), size=(_SAMPLES, len(figures)))
    times = np.stack([np.bincount(row, minlength=len(figures)) for row in rows]).astype(float)
    one, other = _signs(figures), _signs(robust)

    def pairs(signs: NDArray[np.float64]) -> NDArray[np.float64]:
        return ((times @ signs) * times).sum(1)

    with np.errstate(invalid="ignore"):
        return pairs(one * other) / np.sqrt(pairs(one**2) * pairs(other**2))


def _signs(values: Sequence[float]) -> NDArray[np.float64]:
    """Which of each pair is more: [N, N]."""
    held = np.asarray(values, dtype=float)
    return np.sign(held[:, None] - held)
