"""A chart in the terminal, 80 columns wide or as wide as there is room."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from reconfig.picture.chart import Cell, Chart, Row, shortened

_MOST, _LABEL, _RATIO, _GAP = 120, 10, 6, 2  # columns: of all, of a stage's name, of its ratio, between two
_CHANGED = "bold cyan"


def show(chart: Chart, console: Console | None = None) -> None:
    """Print the chart; colours only where the terminal has them."""
    console = console or Console(highlight=False)
    console.print(Text(chart.title, style="bold"))
    console.print(Text(chart.words))
    console.print()
    console.print((_layers if chart.dense else _stages)(chart, min(console.width, _MOST)))
    for note in chart.notes:
        console.print(Text(note))


def _stages(chart: Chart, width: int) -> Table:
    room = (width - _LABEL - _RATIO - _GAP * (len(chart.columns) + 1)) // len(chart.columns)
    longest = max((cell.length for row in chart.rows for cell in row.cells if cell), default=1)
    table = Table(box=None, padding=(0, _GAP, 1, 0), collapse_padding=True, pad_edge=False, header_style="bold")
    table.add_column(width=_LABEL)
    for heading in chart.columns:
        table.add_column(heading, width=room, justify="center")
    table.add_column(width=_RATIO, justify="right")
    for row in chart.rows:
        label = Group(Text(row.title, style="bold"), Text(row.words))
        table.add_row(label, *(_bar(row, number, room, longest) for number in range(len(row.cells))), _ratio(row))
    return table


def _bar(row: Row, number: int, room: int, longest: int) -> Group | str:
    cell = row.cells[number]
    if cell is None:
        return ""
    bar = "█" * max(1, round(room * cell.length / longest))
    lines = (cell.words[0], ", ".join(cell.words[1:]))
    style = _CHANGED if number and row.changed else ""
    return Group(Text(bar, style=style, justify="center"), *(Text(line, justify="center") for line in lines if line))


def _layers(chart: Chart, width: int) -> Table:
    words = max(len(heading) for heading in chart.columns)
    words = max(words, *(len(_said(cell)) for row in chart.rows for cell in row.cells))
    words = min(words, (width - _RATIO) // (len(chart.columns) + 1))
    name = width - _RATIO - (words + _GAP) * len(chart.columns) - _GAP
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(width=name, no_wrap=True)
    for heading in chart.columns:
        table.add_column(shortened(heading, words), width=words, no_wrap=True)
    table.add_column(width=_RATIO, justify="right", no_wrap=True)
    for row in chart.rows:
        table.add_row(Text(shortened(row.title, name, keep_end=True)), *_sides(row, words), _ratio(row))
    return table


def _sides(row: Row, words: int) -> Iterator[Text]:
    for number, cell in enumerate(row.cells):
        yield Text(shortened(_said(cell), words), style=_CHANGED if number and row.changed else "")


def _said(cell: Cell | None) -> str:
    return " ".join(cell.words) if cell else "–"


def _ratio(row: Row) -> Text:
    return Text(row.ratio, style=_CHANGED)
