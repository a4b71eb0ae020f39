"""Where each thing of a chart lies: rectangles and words, in pixels from the upper left."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reconfig.picture.chart import Cell, Chart, Row, shortened

WIDTH = 800
_MARGIN, _LABEL, _RATIO, _GAP = 16, 116, 48, 12  # left and right; a stage's name; its ratio; between columns
_NAME, _WORDS = 236, 142  # a layer's name; what is written beside its bar
_TOP, _LINE, _FOOT = 92, 17, 12  # above the first row; from note to note; below everything
_NOTES = 8  # as many are written out
_GREY, _BLUE, _INK, _PALE = "#c9ced6", "#0b7285", "#1b1f24", "#59636e"
_WIDE, _BOLD = 0.6, 0.7  # of a letter's width in its size, on the wide side: sans-serif is another font everywhere
_MONO = 0.605


@dataclass(frozen=True)
class Box:
    """A filled rectangle; ``details`` is what a pointer over it finds."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    details: str = ""


@dataclass(frozen=True)
class Text:
    """Words on a line, ``y`` being its foot and ``x`` the end that ``anchor`` says."""

    x: float
    y: float
    words: str
    size: float = 12
    colour: str = _INK
    bold: bool = False
    mono: bool = False
    anchor: Literal["start", "middle", "end"] = "start"
    details: str = ""


@dataclass(frozen=True)
class Canvas:
    """A picture ``WIDTH`` wide, of this height."""

    height: int
    shapes: tuple[Box | Text, ...]


def lay_out(chart: Chart) -> Canvas:
    """The chart as a picture."""
    draw, height = (_layer, 19) if chart.dense else (_stage, 76)
    longest = max((cell.length for row in chart.rows for cell in row.cells if cell), default=1)
    left = _NAME if chart.dense else _LABEL
    width = _column(chart, left)
    shapes: list[Box | Text] = [
        Text(_MARGIN, 26, _cut(chart.title, WIDTH - 2 * _MARGIN, 16 * _BOLD), 16, bold=True),
        Text(_MARGIN, 48, _cut(chart.words, WIDTH - 2 * _MARGIN, 12 * _WIDE), colour=_PALE),
    ]
    for number, heading in enumerate(chart.columns):
        x = _MARGIN + left + number * (width + _GAP)
        text = Text(x, 76, _cut(heading, width, 12 * _BOLD), bold=True)
        shapes.append(text if chart.dense else replace(text, x=x + width / 2, anchor="middle"))
    y = float(_TOP)
    for row in chart.rows:
        shapes += draw(row, y, width, longest)
        y += height
    y += 8
    for line in _notes(chart.notes):
        shapes.append(Text(_MARGIN, y + 4, line, 11, _PALE))
        y += _LINE
    return Canvas(round(y + _FOOT), tuple(shape for shape in shapes if isinstance(shape, Box) or shape.words))


def _notes(notes: Sequence[str]) -> Iterator[str]:
    """The lines of the first notes, and how many more there are."""
    for note in notes[:_NOTES]:
        yield from textwrap.wrap(note, 116)
    if len(notes) > _NOTES:
        yield f"and {len(notes) - _NOTES} more"


def _column(chart: Chart, left: float) -> float:
    """The width of a column, the columns' gaps and the ratio being beside them."""
    ratio = _RATIO if len(chart.columns) > 1 else 0
    gaps = _GAP * (len(chart.columns) - 1)
    return (WIDTH - 2 * _MARGIN - left - ratio - gaps) / len(chart.columns)


def _stage(row: Row, y: float, width: float, longest: int) -> Iterator[Box | Text]:
    yield Text(_MARGIN, y + 18, _cut(row.title, _LABEL, 13 * _BOLD), 13, bold=True)
    yield Text(_MARGIN, y + 35, _cut(row.words, _LABEL, 12 * _WIDE), colour=_PALE)
    yield from _ratio(row, y + 18, 12)
    for number, cell in enumerate(row.cells):
        middle = _MARGIN + _LABEL + number * (width + _GAP) + width / 2
        if cell is not None:
            drawn = _drawn(cell, width, longest)
            yield Box(middle - drawn / 2, y, drawn, 26, _colour(row, number), cell.details)
            first, *others = cell.words
            yield Text(middle, y + 42, _cut(first, width, 12 * _WIDE), anchor="middle")
            yield Text(middle, y + 58, _cut(", ".join(others), width, 12 * _WIDE), colour=_PALE, anchor="middle")


def _layer(row: Row, y: float, width: float, longest: int) -> Iterator[Box | Text]:
    name = _cut(row.title, _NAME - 8, 11 * _MONO, keep_end=True)
    yield Text(_MARGIN, y + 12, name, 11, mono=True, details=row.title if name != row.title else "")
    yield from _ratio(row, y + 12, 11)
    for number, cell in enumerate(row.cells):
        x = _MARGIN + _NAME + number * (width + _GAP)
        if cell is not None:
            yield Text(x, y + 12, _cut(" ".join(cell.words), _WORDS - 4, 10.5 * _WIDE), 10.5)
            yield Box(x + _WORDS, y + 2, _drawn(cell, width - _WORDS, longest), 12, _colour(row, number), cell.details)


def _ratio(row: Row, y: float, size: float) -> Iterator[Text]:
    if len(row.cells) > 1 and row.changed:
        yield Text(WIDTH - _MARGIN, y, row.ratio, size, _BLUE, bold=True, anchor="end")


def _drawn(cell: Cell, width: float, longest: int) -> float:
    return max(1.5, width * cell.length / longest)


def _colour(row: Row, number: int) -> str:
    return _BLUE if number == len(row.cells) - 1 and (row.changed or number == 0) else _GREY


def _cut(words: str, width: float, letter: float, *, keep_end: bool = False) -> str:
    """``words`` so short that they fit."""
    return shortened(words, int(width / letter), keep_end=keep_end)
