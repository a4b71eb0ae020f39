"""Tables as text, and bars before and after as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as their longest cell, right-aligned, a rule under the header."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def resolution(positions: Sequence[int]) -> str:
    """Positions as in "32x32"."""
    return "x".join(map(str, positions)) or "1"


def change(before: int, after: int) -> str:
    """A number, or a number before and after."""
    return f"{before:,}" if before == after else f"{before:,} -> {after:,}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


# -- picture -----------------------------------------------------------------------------------------------------------

_BAR, _GAP, _FULL, _TEXT = 26, 14, 420, 250  # pixels: a bar's height, between bars, the widest bar, the text beside it
_MARGIN, _TOP, _LINE = 16, 62, 20  # pixels: left of everything, above the first bar, from line to line
_BEFORE, _AFTER, _INK = "#c9ced6", "#0b7285", "#1b1f24"


@dataclass(frozen=True)
class Bar:
    """A length before and after, with a title and a line of words beside it."""

    before: int
    after: int
    title: str
    words: str


def bars(title: str, subtitle: str, rows: Sequence[Bar]) -> str:
    """SVG: of each row a bar as long as it was (grey) above one as long as it is (blue), the first on top."""
    longest = max(max(row.before, row.after) for row in rows)
    height = _TOP + 8 + len(rows) * (2 * _BAR + _GAP)
    lines = [_text(_MARGIN, 24, title, "bold"), _text(_MARGIN, 24 + _LINE, subtitle)]
    for number, row in enumerate(rows):
        top = _TOP + number * (2 * _BAR + _GAP)
        for line, (length, colour) in enumerate(((row.before, _BEFORE), (row.after, _AFTER))):
            drawn = max(2, round(_FULL * length / longest))
            left = _MARGIN + (_FULL - drawn) / 2
            lines.append(
                f'<rect x="{left:g}" y="{top + line * _BAR}" width="{drawn}" height="{_BAR}" fill="{colour}"/>'
            )
        lines.append(_text(_FULL + 2 * _MARGIN, top + _BAR - 5, row.title, "bold"))
        lines.append(_text(_FULL + 2 * _MARGIN, top + 2 * _BAR - 9, row.words))
    size = f'width="{_FULL + _TEXT}" height="{height}" viewBox="0 0 {_FULL + _TEXT} {height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
            f'<rect width="100%" height="100%" fill="white"/><g fill="{_INK}">',
            *lines,
            "</g></svg>",
        ]
    )


def _text(x: float, y: float, words: str, weight: str = "normal") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-weight="{weight}">{escape(words.replace("->", "→"))}</text>'
