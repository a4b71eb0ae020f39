"""The explorations of Huang et al. (2021, section 4) as values: which networks, and what the paper says of them.

Like ``experiment``, nothing here imports torch. A sweep is a ``Setting`` (how every network is trained and measured)
and makes its ``Configuration``s; ``benchmarks/sweep.py`` runs them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import ClassVar, Literal

from recipes.experiment import Evaluate, Network, Setting

DEPTHS = (1, 3, 5, 7, 9)
"""Blocks of a stage in the grid search (section 4.1)."""
WIDTHS = (2, 4, 6, 8, 10)
"""Widths of a stage, in tenths (section 4.2)."""
GAMMAS = (0.25, 0.5, 1.0, 1.5, 2.0)
"""Table 1."""


@dataclass(frozen=True)
class Reported:
    """What the paper reports of a configuration of WRN-34-10: accuracies in % at the best checkpoint, SAT, CIFAR-10."""

    params_m: float | None = None
    """Millions of parameters."""
    clean: float | None = None
    pgd20: float | None = None
    about: bool = False
    """The accuracy is from the text, which rounds it to whole %; figures 1 to 3 print no numbers that we have."""


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
"""(rule, gamma) of wrn34_10 -> what the paper reports."""


@dataclass(frozen=True)
class Configuration:
    """One network of a sweep, and where it stands in the figure."""

    name: str
    """In tables and figures."""
    network: Network
    places: tuple[tuple[str, float], ...]
    """(panel, position on its axis): the standard network stands in the panel of every stage."""
    reported: Reported | None = None

    @property
    def folder(self) -> str:
        """The name as that of a folder."""
        return self.name.replace(" ", "_").replace("γ", "gamma")


@dataclass(frozen=True, kw_only=True)
class Sweep(Setting):
    """Networks trained and measured alike."""

    title: ClassVar[str]
    axis: ClassVar[str] = ""
    """What the positions of the figure are."""
    figure: ClassVar[Literal["scatter", "panels", "line", "grid", "ranking"]]

    evaluate: Evaluate = field(default_factory=lambda: Evaluate(attacks=("pgd20",)))
    limit: int | None = None
    """Only the first so many configurations. A later run with --resume may raise it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, not {self.limit}")
        if "pgd20" not in self.evaluate.attacks:
            raise ValueError("evaluate.attacks must have pgd20: it is what a sweep compares networks by")

    def configurations(self) -> Iterator[Configuration]:
        """The networks, in the order in which they are trained, whatever the limit."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Exploration(Sweep):
    """Configurations of one network."""

    factory: str = "wrn34_10"
    """The factory of reconfig.zoo whose network is varied; it needs three stages."""
    gamma: float = 1.0
    """Factor on every width: 0.05 makes networks small enough to try a sweep out."""

    def _one(self, rule: str, *places: tuple[str, float], gamma: float = 1.0, name: str = "") -> Configuration:
        known = REPORTED.get((rule, gamma)) if self.factory == "wrn34_10" and self.gamma == 1 else None
        return Configuration(name or rule, Network(self.factory, rule, gamma * self.gamma), places, known)

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


@dataclass(frozen=True, kw_only=True)
class Compare(Sweep):
    """Any two or more networks at the parameters or FLOPs of the first."""

    title = "Comparison"
    figure = "ranking"

    variants: tuple[str, ...] = ("wrn34_10", "wrn34_10 10-10-4")
    """Each a factory of reconfig.zoo, perhaps a rule, perhaps gamma=NUMBER: "wrn34_10 d7-9-3 w10-10-4 gamma=0.5"."""
    budget: Literal["params", "flops", "none"] = "params"
    """What the others are scaled to have as much of as the first; none takes them as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        networks = [read_variant(variant) for variant in self.variants]
        if len(set(networks)) < max(2, len(networks)):
            raise ValueError(f"variants must be two or more that differ, not {', '.join(self.variants)}")
        if self.budget != "none":
            for text, network in zip(self.variants[1:], networks[1:], strict=True):
                if network.gamma != 1:
                    raise ValueError(f"variant {text!r} gives a gamma, which --budget {self.budget} solves for")

    def configurations(self) -> Iterator[Configuration]:
        """See ``Sweep``. These are as written; ``benchmarks.harness.sweep`` solves for the budget."""
        for variant in self.variants:
            network = read_variant(variant)
            yield Configuration(network.name, network, (("", 0.0),))


def read_variant(text: str) -> Network:
    """The network that ``text`` writes: a factory, a rule, and gamma=NUMBER, of which only the first has to be there.

    Raises:
        ValueError: If there is no factory, or gamma is no number.
    """
    factory, *words = text.split() or [""]
    if not factory:
        raise ValueError('a variant is a factory and perhaps a rule, such as "wrn34_10 10-10-4"; this one is empty')
    network = Network(factory)
    rule = [word for word in words if not word.startswith("gamma=")]
    for word in words:
        if word.startswith("gamma="):
            try:
                network = replace(network, gamma=float(word.removeprefix("gamma=")))
            except ValueError:
                raise ValueError(f"{word!r} in variant {text!r} is no number; write gamma=0.5") from None
    standard = "10-10-10" if network.gamma != 1 else None  # gamma scales what a rule leaves
    return replace(network, rule=" ".join(rule) or standard)


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
}
"""The sweeps by the name that the command line uses."""
