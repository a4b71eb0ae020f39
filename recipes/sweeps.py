"""The explorations of Huang et al. (2021, section 4) as values: which networks, and what the paper says of them.

``benchmarks/sweep.py`` runs them. Nothing here imports torch.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from reconfig.harness import Compare, Configuration, Network, Reported, Sweep, Variants

DEPTHS = (1, 3, 5, 7, 9)
"""Blocks of a stage in the grid search (section 4.1)."""
WIDTHS = (2, 4, 6, 8, 10)
"""Widths of a stage, in tenths (section 4.2)."""
STANDARD = "zoo:wrn34_10"
"""The paper's network."""
GAMMAS = (0.25, 0.5, 1.0, 1.5, 2.0)
"""Table 1."""


REPORTED = {
    ("d5-5-5", 1.0): Reported(46.16, pgd20=52, about=True),  # sections 4.1 and 4.3
    ("d9-7-1", 1.0): Reported(22.19, pgd20=54, about=True),  # section 4.2
    ("d5-5-1 w10-10-2", 1.0): Reported(pgd20=52, about=True),  # section 4.3
    ("w10-10-10", 1.0): Reported(46.16, pgd20=52, about=True),
    ("w10-10-4", 0.25): Reported(1.07, 80.61, 50.90),  # Table 1
    ("w10-10-4", 0.5): Reported(4.27, 84.31, 54.07),
    ("w10-10-4", 1.0): Reported(17.05, 87.00, 54.99),
    ("w10-10-4", 1.5): Reported(38.33, 87.68, 55.33),
    ("w10-10-4", 2.0): Reported(68.12, 88.12, 55.35),
}
"""(rule, gamma) of ``STANDARD`` -> what the paper reports."""


@dataclass(frozen=True, kw_only=True)
class Exploration(Sweep):
    """Configurations of one network."""

    network: str = STANDARD
    """The name of the network that is varied, such as zoo:wrn34_10 or file.py:Net; it needs three stages."""
    gamma: float = 1.0
    """Factor on every width: 0.05 makes networks small enough to try a sweep out."""

    def _one(self, rule: str, *positions: tuple[str, float], gamma: float = 1.0, name: str = "") -> Configuration:
        known = REPORTED.get((rule, gamma)) if self.network == STANDARD and self.gamma == 1 else None
        return Configuration(name or rule, Network(self.network, rule, gamma * self.gamma), positions, known)

    def _controlled(self, kind: str, choices: tuple[int, ...], standard: int) -> Iterator[Configuration]:
        """Each stage on its own over ``choices``, the others at ``standard``; the standard network comes first."""
        stages = range(3)
        everywhere = [(f"Stage-{stage + 1}", float(standard)) for stage in stages]
        yield self._one(kind + _joined([standard] * 3), *everywhere)
        for stage in stages:
            for choice in choices:
                if choice != standard:
                    terms = [choice if other == stage else standard for other in stages]
                    yield self._one(kind + _joined(terms), (f"Stage-{stage + 1}", float(choice)))


@dataclass(frozen=True, kw_only=True)
class DepthGrid(Exploration):
    """The 125 depths of Figure 1b: 1, 3, 5, 7 or 9 blocks in each of three stages."""

    title = "Depth configurations (Figure 1b)"
    figure = "scatter"

    def configurations(self) -> Iterator[Configuration]:
        """See ``Sweep``."""
        for depths in product(DEPTHS, repeat=3):
            yield self._one("d" + _joined(depths), ("", 0.0))


@dataclass(frozen=True, kw_only=True)
class DepthControl(Exploration):
    """Figure 2: the depth of one stage at a time, the others at 5 blocks."""

    title = "Depth of one stage (Figure 2)"
    axis = "blocks in the stage"
    figure = "panels"

    def configurations(self) -> Iterator[Configuration]:
        """See ``Sweep``."""
        return self._controlled("d", DEPTHS, 5)


@dataclass(frozen=True, kw_only=True)
class WidthControl(Exploration):
    """Figure 3: the width of one stage at a time, the others at 10 tenths."""

    title = "Width of one stage (Figure 3)"
    axis = "width of the stage (tenths)"
    figure = "panels"

    def configurations(self) -> Iterator[Configuration]:
        """See ``Sweep``."""
        return self._controlled("w", WIDTHS, 10)


@dataclass(frozen=True, kw_only=True)
class GammaScaling(Exploration):
    """Table 1: w10-10-4 with every width multiplied by γ, from 0.25 to 2."""

    title = "w10-10-4 scaled by γ (Table 1)"
    axis = "γ"
    figure = "line"

    def configurations(self) -> Iterator[Configuration]:
        """See ``Sweep``."""
        for gamma in GAMMAS:
            yield self._one("w10-10-4", ("", gamma), gamma=gamma, name=f"w10-10-4 γ={gamma:g}")


@dataclass(frozen=True, kw_only=True)
class DepthWidth(Exploration):
    """Section 4.3: the five most robust depths with five widths of the last stage."""

    title = "Depths with widths (section 4.3)"
    figure = "grid"

    depths: tuple[str, ...] = ()
    """Depths such as 9-7-1 7-9-3. Left out, they are the five most robust of --grid. The paper's five are in a
    figure without text; it names 9-7-1, the best, and 7-9-3."""
    grid: Path = Path("runs/depth-grid/results.csv")
    """The results of a finished depth-grid."""
    widths: tuple[float, ...] = tuple(float(width) for width in reversed(WIDTHS))
    """Widths of the last stage, in tenths."""

    def configurations(self) -> Iterator[Configuration]:
        """See ``Sweep``."""
        for depths, width in product(self.depths or most_robust(self.grid, 5), self.widths):
            yield self._one(f"d{depths} w10-10-{width:g}", (f"d{depths}", width))


def most_robust(results: Path, count: int) -> tuple[str, ...]:
    """The ``count`` depths, such as 9-7-1, with the best PGD-20 accuracy in the results of a depth-grid.

    Raises:
        ValueError: If the file is missing, or is not of a depth-grid with so many configurations.
    """
    if not results.exists():
        raise ValueError(
            f"{results} does not exist; run depth-grid first, name its results with --grid, or give --depths"
        )
    with results.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        ranked = sorted(rows, key=lambda row: -float(row["pgd20_best_mean"]))
        best = [row["rule"] for row in ranked[:count]]
        if len(best) < count or not all(rule.startswith("d") for rule in best):
            raise ValueError(f"it has {len(rows)} rows")
    except (KeyError, ValueError) as error:
        raise ValueError(f"{results} is not of a depth-grid with at least {count} configurations: {error}") from error
    return tuple(rule.removeprefix("d") for rule in best)


def _joined(terms: tuple[int, ...] | list[int]) -> str:
    return "-".join(map(str, terms))


SWEEPS: dict[str, Sweep] = {
    "depth-grid": DepthGrid(),
    "depth-control": DepthControl(),
    "width-control": WidthControl(),
    "gamma": GammaScaling(),
    "depth-width": DepthWidth(),
    "compare": Compare(),
    "variants": Variants(),
}
"""The sweeps by the name that the command line uses."""
