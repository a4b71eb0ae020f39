"""Pictures: how training went, and what a sweep found, drawn as the figures of the paper are.

Everything is SVG text, which a page holds in line and a browser or LaTeX (after conversion) shows at any size. The
colours are those of Okabe and Ito, which colour-blind people can tell apart; every series also has its own marker.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP"
_IN_A_ROW = 5
"""Names of a legend over four panels."""
_STYLE: Any = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 9.5,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "path",  # the same everywhere, whatever fonts there are
    "svg.hashsalt": "reconfig",  # the same bytes for the same figures
}

History = Sequence[Mapping[str, Any]]
"""The rows of a metrics.jsonl."""


@contextmanager
def grid_of_axes(rows: int, columns: int, width: float, height: float) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of ``width`` by ``height`` inches with so many panels, row by row, in the style of all figures."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, list(np.atleast_1d(figure.subplots(rows, columns)).flat)


def _figure(panels: int, width: float, height: float) -> AbstractContextManager[tuple[Figure, list[Axes]]]:
    return grid_of_axes(1, panels, width, height)


def svg(figure: Figure) -> str:
    """The figure as an <svg> element."""
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


# -- a run -------------------------------------------------------------------------------------------------------------

_CURVES = (
    ("pgd20", "PGD-20 accuracy, selection images", "%"),
    ("clean", "clean accuracy, selection images", "%"),
    ("train_robust", "robust accuracy, training images", "%"),
    ("loss", "training loss", ""),
)


def curves(histories: Mapping[str, Sequence[History]]) -> str:
    """The metrics of each epoch, network by network: the mean over seeds as a line, their range as a band.

    A ring marks the epoch with the best PGD-20 accuracy where there is one seed.
    """
    with _figure(len(_CURVES), 12, 2.9) as (figure, panels):
        for axes, (measure, title, unit) in zip(panels, _CURVES, strict=True):
            for number, (name, runs) in enumerate(histories.items()):
                _curve(axes, measure, name, runs, number)
            axes.set(title=title, xlabel="epoch", ylabel=unit)
            axes.xaxis.set_major_locator(
                MaxNLocator(integer=True, min_n_ticks=1)
            )  # two would be parts of an only epoch
            axes.ticklabel_format(axis="y", useOffset=False)  # a corner's "+2.224" is overlooked
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), _IN_A_ROW))
        return svg(figure)


def _curve(axes: Axes, measure: str, name: str, runs: Sequence[History], number: int) -> None:
    epochs = [row["epoch"] for row in runs[0]]
    found = np.array([[row[measure] for row in run] for run in runs])
    colour = COLOURS[number % len(COLOURS)]
    few = len(epochs) <= 20  # markers of more would run into one another
    mean = found.mean(0)
    axes.plot(epochs, mean, "-" if number == 0 else "--", color=colour, label=name, lw=1.6,
              marker=MARKERS[number % len(MARKERS)] if few else None, ms=3.5)  # fmt: skip
    if len(runs) > 1:
        axes.fill_between(epochs, found.min(0), found.max(0), color=colour, alpha=0.15, lw=0)
    elif measure == "pgd20":
        best = int(mean.argmax())
        axes.plot(epochs[best], mean[best], "o", ms=9, mfc="none", mec=colour, mew=1.4)


# -- a sweep -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A configuration in a figure."""

    name: str
    panel: str
    """The part of the figure that it belongs to."""
    x: float
    """Where it stands on the panel's axis: a depth, a width, a gamma."""
    params: float
    """Parameters."""
    robust: float
    """Best PGD-20 accuracy in %, the mean over seeds."""
    spread: float
    """Its standard deviation over seeds; 0 for one."""
    paper: float | None
    """What the paper reports."""


def scatter(points: Sequence[Point], title: str) -> str:
    """Robust accuracy over parameters, as in Figure 1b: the most and least robust configurations have their names."""
    with _figure(1, 7.2, 4.4) as (figure, (axes,)):
        x, y = [point.params / 1e6 for point in points], [point.robust for point in points]
        _errors(axes, points, x, COLOURS[0])
        axes.plot(x, y, "o", color=COLOURS[0], ms=5, label="ours")
        reported = [(point.params / 1e6, point.paper) for point in points if point.paper is not None]
        if reported:
            axes.plot(*zip(*reported, strict=True), "x", color=COLOURS[1], ms=7, mew=1.6, label="paper")
            figure.legend(loc="outside upper right", ncols=2)
        ranked = sorted(points, key=lambda point: point.robust)
        _name(axes, points if len(points) <= 12 else [*ranked[:4], *ranked[-6:]])
        axes.set(title=title, xlabel="parameters (millions)", ylabel="PGD-20 accuracy (%)")
        axes.margins(x=0.12, y=0.12)
        return svg(figure)


def _name(axes: Axes, points: Sequence[Point]) -> None:
    """Names beside points, alternately above and below so that neighbours do not cover each other."""
    for number, point in enumerate(sorted(points, key=lambda point: (point.params, point.robust))):
        above = number % 2 == 0
        axes.annotate(point.name, (point.params / 1e6, point.robust), xytext=(0, 6 if above else -6),
                      textcoords="offset points", ha="center", va="bottom" if above else "top",
                      fontsize=7.5)  # fmt: skip


def ranking(points: Sequence[Point], title: str) -> str:
    """Robust accuracy of each network on a line of its own, in the order given."""
    with _figure(1, 7.2, 1.3 + 0.42 * len(points)) as (figure, (axes,)):
        y = range(len(points))
        robust, spread = [point.robust for point in points], [point.spread for point in points]
        axes.errorbar(robust, y, xerr=spread if any(spread) else None, fmt="o", color=COLOURS[0], ms=6, capsize=2)
        for row, value in zip(y, robust, strict=True):
            axes.annotate(
                f"{value:.2f}", (value, row), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8
            )
        axes.set_yticks(y, [f"{point.name}\n{point.params / 1e6:,.4g} M parameters" for point in points])
        axes.set(title=title, xlabel="PGD-20 accuracy (%)", ylim=(len(points) - 0.5, -0.7))
        axes.margins(x=0.12)
        axes.grid(visible=False, axis="x")
        return svg(figure)


def panels(points: Sequence[Point], xlabel: str) -> str:
    """A panel for each stage, side by side on one scale, as in Figures 2 and 3."""
    titles = list(dict.fromkeys(point.panel for point in points))
    with _figure(len(titles), 3.3 * len(titles), 3.1) as (figure, drawn):
        for axes, title in zip(drawn, titles, strict=True):
            own = sorted((point for point in points if point.panel == title), key=lambda point: point.x)
            _line(axes, own)
            axes.set(title=title, xlabel=xlabel, xticks=[point.x for point in own])
            axes.sharey(drawn[0])
        drawn[0].set_ylabel("PGD-20 accuracy (%)")
        drawn[0].margins(y=0.1)
        handles, names = max((axes.get_legend_handles_labels() for axes in drawn), key=lambda found: len(found[0]))
        if len(names) > 1:
            figure.legend(handles, names, loc="outside upper right", ncols=len(names))
        return svg(figure)


def line(points: Sequence[Point], xlabel: str, title: str) -> str:
    """Robust accuracy along one axis, ours and the paper's, as Table 1 has it."""
    with _figure(1, 5.6, 3.6) as (figure, (axes,)):
        own = sorted(points, key=lambda point: point.x)
        _line(axes, own)
        axes.set(title=title, xlabel=xlabel, ylabel="PGD-20 accuracy (%)", xticks=[point.x for point in own])
        axes.margins(y=0.1)
        if any(point.paper is not None for point in own):
            axes.legend(loc="best")
        return svg(figure)


def _line(axes: Axes, points: Sequence[Point]) -> None:
    x = [point.x for point in points]
    _errors(axes, points, x, COLOURS[0])
    axes.plot(x, [point.robust for point in points], "o-", color=COLOURS[0], ms=5, lw=1.6, label="ours")
    reported = [(point.x, point.paper) for point in points if point.paper is not None]
    if reported:
        axes.plot(*zip(*reported, strict=True), "s--", color=COLOURS[1], ms=5, lw=1.4, label="paper")


def _errors(axes: Axes, points: Sequence[Point], x: Sequence[float], colour: str) -> None:
    if any(point.spread for point in points):
        spread = [point.spread for point in points]
        axes.errorbar(x, [point.robust for point in points], spread, fmt="none", ecolor=colour, elinewidth=1, capsize=2)


def grid(points: Sequence[Point], title: str) -> str:
    """Depths (rows, the panels of the points) against widths (columns, the rest of their names) as a coloured table."""
    rows = list(dict.fromkeys(point.panel for point in points))
    columns = list(dict.fromkeys(point.x for point in points))
    table = np.full((len(rows), len(columns)), np.nan)
    for point in points:
        table[rows.index(point.panel), columns.index(point.x)] = point.robust
    with _figure(1, 1.7 + 1.05 * len(columns), 1.6 + 0.55 * len(rows)) as (figure, (axes,)):
        shown = axes.imshow(np.ma.masked_invalid(table), cmap="cividis", aspect="auto")
        low, high = np.nanmin(table), np.nanmax(table)
        for (row, column), value in np.ndenumerate(table):
            if not np.isnan(value):
                dark = high > low and (value - low) / (high - low) < 0.55
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if dark else "black")
        axes.set_xticks(range(len(columns)), [f"{column:g}" for column in columns])
        axes.set_yticks(range(len(rows)), rows)
        axes.set(title=title, xlabel="width of the last stage (tenths)", ylabel="depths")
        axes.grid(visible=False)
        figure.colorbar(shown, label="PGD-20 accuracy (%)")
        return svg(figure)


# -- a comparison of rules ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Costed:
    """A network by what it costs."""

    rule: str
    held: str | None
    """params or flops; None for the original."""
    params: float
    flops: float
    """Multiply-adds of one image."""
    robust: float
    """Best PGD-20 accuracy in %, the mean over seeds."""
    interval: tuple[float, float]
    """In which that lies with 95 %."""


def costs(points: Sequence[Costed], title: str) -> str:
    """Robust accuracy over parameters and over multiply-adds, with intervals.

    A colour a rule; a marker is filled where what the axis shows is held. Points at one cost are moved a little aside.
    The first is the original, with a line at its height.
    """
    original, *others = points
    rules = list(dict.fromkeys(point.rule for point in others))
    colours = {"original": ("#1b1f24", "*")} | {
        rule: (COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]) for place, rule in enumerate(rules)
    }
    middle = len(rules) // 2
    aside = {rule: place - middle + (place >= middle) for place, rule in enumerate(rules)}  # of the original, at 0
    with _figure(2, 10.4, 4.2) as (figure, drawn):
        for axes, (axis, label) in zip(drawn, {"params": "parameters", "flops": "multiply-adds"}.items(), strict=True):
            at = [float(getattr(point, axis)) for point in points]
            unit, word = (1e3, "thousands") if max(at) < 1e6 else (1e6, "millions")
            axes.axhline(original.robust, color="#6b7280", lw=1, ls=":")
            for point, x in zip(points, at, strict=True):
                colour, marker = colours[point.rule]
                points_aside = 7 * aside[point.rule] if point.held == axis else 0
                where = axes.transData + ScaledTranslation(points_aside / 72, 0, figure.dpi_scale_trans)
                low, high = point.interval
                axes.errorbar(
                    x / unit, point.robust, [[point.robust - low], [high - point.robust]], fmt=marker, color=colour,
                    ms=11 if marker == "*" else 6.5, mfc=colour if point.held in (axis, None) else "white",
                    elinewidth=1.1, capsize=2.5, transform=where, label=point.rule,
                )  # fmt: skip
            # matplotlib does not look for what was moved aside.
            heights = [bound for point in points for bound in point.interval]
            axes.set(xlabel=f"{label} ({word})", ylabel="PGD-20 accuracy (%)",
                     xlim=_around([x / unit for x in at]), ylim=_around(heights))  # fmt: skip
        drawn[0].set_title("filled: at the original's parameters")
        drawn[1].set_title("filled: at the original's multiply-adds")
        handles, names = drawn[0].get_legend_handles_labels()
        firsts = [names.index(name) for name in dict.fromkeys(names)]  # a rule once
        figure.legend([handles[each] for each in firsts], [names[each] for each in firsts],
                      loc="outside upper center", ncols=len(firsts), title=title)  # fmt: skip
        return svg(figure)


def _around(values: Sequence[float]) -> tuple[float, float]:
    """The limits of an axis that has room on both sides of ``values``."""
    room = 0.15 * (max(values) - min(values)) or 0.1 * abs(values[0]) or 1.0
    return min(values) - room, max(values) + room
