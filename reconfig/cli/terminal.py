"""A chart in the terminal, 80 columns wide or as wide as there is room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from reconfig.picture.chart import Cell, Chart, Row, shortened

_MOST, _LABEL, _RATIO, _GAP = 120, 12, 7, 2  # signs: of a line, of a stage's name, of a ratio, between columns
_CHANGED = "bold cyan"


def show(chart: Chart) -> None:
    """Print the chart on stdout; with colours only where it is a terminal that has them."""
    console = Console(highlight=False)
    console.print(Text(chart.title, style="bold"))
    console.print(Text(chart.words))
    console.print()
    for line in (_layers if chart.dense else _stages)(chart, min(console.width, _MOST)):
        line.rstrip()
        console.print(line, soft_wrap=True)
    for note in chart.notes:
        console.print(Text(note))


def _stages(chart: Chart, width: int) -> Iterator[Text]:
    """Of each stage a line of bars and two of words."""
    count = len(chart.columns)
    room = (width - _LABEL - _RATIO - _GAP * (count - 1)) // count
    longest = max((cell.length for row in chart.rows for cell in row.cells if cell), default=1)
    yield _line(Text(), [Text(shortened(heading, room).center(room), "bold") for heading in chart.columns])
    for row in chart.rows:
        bars = ["█" * max(1, round(room * cell.length / longest)) if cell else "" for cell in row.cells]
        first, others = zip(*(_words(cell) for cell in row.cells), strict=True)
        styles = [_style(row, number) for number in range(count)]
        yield _line(
            Text(row.title, "bold"),
            [Text(bar.center(room), style) for bar, style in zip(bars, styles, strict=True)],
            row.ratio,
        )
        yield _line(Text(row.words), _centred(first, room))
        yield _line(Text(), _centred(others, room))


def _words(cell: Cell | None) -> tuple[str, str]:
    return (cell.words[0], ", ".join(cell.words[1:])) if cell else ("", "")


def _centred(words: Sequence[str], room: int) -> list[Text]:
    return [Text(shortened(word, room).center(room)) for word in words]


def _line(label: Text, cells: Sequence[Text], ratio: str = "") -> Text:
    label.truncate(_LABEL - 1, overflow="ellipsis")
    label.align("left", _LABEL)
    return Text.assemble(label, Text(" " * _GAP).join(cells), Text(ratio.rjust(_RATIO), _CHANGED))


def _layers(chart: Chart, width: int) -> Iterator[Text]:
    """Of each layer a line."""
    words = max(len(text) for text in (*chart.columns, *(_said(cell) for row in chart.rows for cell in row.cells)))
    words = min(words, (width - _RATIO) // (len(chart.columns) + 1) - _GAP)
    name = width - _RATIO - (words + _GAP) * len(chart.columns)
    gap = Text(" " * _GAP)
    headings = [Text(shortened(heading, words).ljust(words), "bold") for heading in chart.columns]
    yield gap.join([Text(" " * name), *headings])
    for row in chart.rows:
        sides = [
            Text(shortened(_said(cell), words).ljust(words), _style(row, number))
            for number, cell in enumerate(row.cells)
        ]
        line = gap.join([Text(shortened(row.title, name, keep_end=True).ljust(name)), *sides])
        yield Text.assemble(line, Text(row.ratio.rjust(_RATIO), _CHANGED))


def _said(cell: Cell | None) -> str:
    return " ".join(cell.words) if cell else "–"


def _style(row: Row, number: int) -> str:
    return _CHANGED if number and row.changed else ""
