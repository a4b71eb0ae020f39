"""What a picture of a network shows, before anything is drawn: rows of bars, one column for each network."""

from __future__ import annotations

from dataclasses import dataclass

_UNITS = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


@dataclass(frozen=True)
class Cell:
    """A bar, and what is written beside it.

    Attributes:
        length: of the bar, in channels.
        words: phrases, the most important first.
        details: what a pointer over the bar finds; "" for nothing.
    """

    length: int
    words: tuple[str, ...]
    details: str = ""


@dataclass(frozen=True)
class Row:
    """A stage or a layer: a cell for each network, None where it has no such stage or layer."""

    title: str
    words: str
    cells: tuple[Cell | None, ...]

    @property
    def changed(self) -> bool:
        """Whether the networks differ here."""
        first = self.cells[0]
        return any(_drawn(cell) != _drawn(first) for cell in self.cells[1:])

    @property
    def ratio(self) -> str:
        """The last network's channels over the first's, as "×0.4"; "new" or "gone" where there is one alone."""
        first, last = self.cells[0], self.cells[-1]
        if first is None or last is None:
            return "gone" if last is None else "new"
        return "" if first.length == last.length else f"×{last.length / first.length:.3g}"


@dataclass(frozen=True)
class Chart:
    """One network, or several beside each other.

    Attributes:
        title: what is shown.
        words: a line below it.
        columns: the heading of each network.
        rows: stages or layers, first to last.
        notes: sentences below.
        dense: whether there are many rows, which are drawn low.
    """

    title: str
    words: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    dense: bool = False


def _drawn(cell: Cell | None) -> tuple[int, tuple[str, ...]] | None:
    return None if cell is None else (cell.length, cell.words)


def shortened(words: str, most: int, *, keep_end: bool = False) -> str:
    """``words`` in no more than ``most`` letters."""
    if len(words) <= most:
        return words
    return "…" + words[len(words) - most + 1 :] if keep_end else words[: most - 1] + "…"


def brief(number: int) -> str:
    """A count with three digits, as in 46.2 M."""
    for unit, name in _UNITS:
        if number >= 0.9995 * unit:
            value = number / unit
            return f"{value:.{max(0, 3 - len(str(round(value))))}f} {name}"
    return str(number)
