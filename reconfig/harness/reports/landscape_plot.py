"""The landscape of a search as a picture: each width, each depth and each count against robust accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reconfig.harness.reports.plots import COLOURS, MARKERS, grid_of_axes, svg

_ACROSS = 3


@dataclass(frozen=True)
class Tried:
    """A trial in the picture."""

    arm: str
    name: str
    """Of a published rule; "" for others."""
    at: Mapping[str, float]
    """Where it stands on each axis."""
    robust: float
    """In %, after its last epoch."""
    length: float
    """How much of the longest trial it had, up to 1."""


def landscape(tried: Sequence[Tried], axes: Mapping[str, str]) -> str:
    """A panel for each of ``axes``, by their titles. Full points went to the end; pale ones were stopped before."""
    rows = math.ceil(len(axes) / _ACROSS)
    with grid_of_axes(rows, _ACROSS, 3.9 * _ACROSS, 3.0 * rows) as (figure, drawn):
        arms = list(dict.fromkeys(each.arm for each in tried))
        for panel, (key, title) in zip(drawn, axes.items(), strict=False):
            for number, arm in enumerate(arms):
                _points(panel, [each for each in tried if each.arm == arm], key, number)
            panel.set(xlabel=title, ylabel="PGD-20, held out (%)")
            if key.startswith("w"):
                panel.set_xscale("log", base=2)
                panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            elif key.startswith("d"):
                panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.margins(0.08)
        for panel in drawn[len(axes) :]:
            panel.set_visible(False)
        handles, names = drawn[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(names))
        return svg(figure)


def _points(panel: Axes, tried: Sequence[Tried], key: str, number: int) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    panel.plot([], [], marker, color=colour, ms=5, label=tried[0].arm if tried else None)
    for each in tried:
        panel.plot(each.at[key], each.robust, marker, color=colour, ms=3 + 3 * each.length,
                   alpha=0.25 + 0.75 * each.length, mec="none")  # fmt: skip
        if each.name:
            panel.annotate(each.name, (each.at[key], each.robust), xytext=(3, 3), textcoords="offset points",
                           fontsize=6.5, color="#5b6470")  # fmt: skip
