"""The one table of the harness, printed for a terminal, as Markdown and as LaTeX."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import rich.table
from rich.console import Console

from reconfig.harness.jobs.outcome import CHECKPOINTS

_SCREEN = 140
"""Characters in a line of a log, which has no width of its own, and of a terminal that most people have."""
_PAGE = 70
"""Characters in a line of a paper's page."""
_LATEX = {
    **{character: "\\" + character for character in "%&_#{}$"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "±": r"$\pm$",
    "γ": r"$\gamma$",
    "−": r"$-$",
    "+": r"$+$",
}


@dataclass(frozen=True)
class Table:
    """A table of results as text: one header, rows of cells, and what has to be said about them.

    A title such as "PGD-20 best" is a measure and a checkpoint; LaTeX prints each measure once, over its checkpoints.
    A table that is too wide for a screen or a page is turned: what was measured has rows, the networks have columns.
    """

    header: list[str]
    rows: list[list[str]]
    notes: list[str]

    def for_screen(self) -> Table:
        """The table as a screen shows it: turned, where it would be too wide."""
        return self._turned() if self._is_wide(_SCREEN) else self

    def _is_wide(self, most: int) -> bool:
        """Whether a line has more than ``most`` characters, and fewer in the turned table."""
        plain = [[*title.split(), *cells] for title, *cells in zip(self.header, *self.rows, strict=True)]
        turned = [self.header, *([*name.split(), *cells] for name, *cells in self.rows)]
        return max(most, _width(turned)) < _width(plain)

    def _turned(self) -> Table:
        header, *rows = map(list, zip(self.header, *self.rows, strict=True))
        return Table(["", *header[1:]], rows, self.notes)

    def rich(self) -> rich.table.Table:
        """For the terminal."""
        shown = self.for_screen()
        table = rich.table.Table(caption="\n".join(self.notes), caption_justify="left")
        for number, title in enumerate(shown.header):
            style = "dim" if title.startswith("paper: ") and shown is not self else ""
            table.add_column(title, justify="right" if number else "left", no_wrap=not number, style=style)
        for row in shown.rows:
            table.add_row(*row, style="dim" if row[0].startswith("paper: ") and shown is self else "")
        return table

    def markdown(self) -> str:
        """For files."""
        shown = self.for_screen()
        lines = [shown.header, ["---"] + ["---:"] * (len(shown.header) - 1), *shown.rows]
        table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        return table + "\n\n" + "\n".join(f"- {note}" for note in self.notes) + "\n"

    def latex(self) -> str:
        """For papers: a table of the package booktabs."""
        if self._is_wide(_PAGE):
            columns = f"@{{}}ll*{{{len(self.rows)}}}{{@{{\\hspace{{7pt}}}}r}}@{{}}"
            header, rows = self._latex_names(), self._latex_measures()
        else:
            columns, header = "l" + "r" * (len(self.header) - 1), self._latex_header()
            rows = [_latex_row(row) for row in self.rows]
        lines = [
            "% needs \\usepackage{booktabs}",
            *(f"% {note}" for note in self.notes),
            f"\\begin{{tabular}}{{{columns}}}",
            "\\toprule",
            *header,
            "\\midrule",
            *rows,
            "\\bottomrule",
            "\\end{tabular}",
        ]
        return "\n".join(lines) + "\n"

    def _latex_names(self) -> list[str]:
        """The titles of a turned table: the names with a word a line, which keeps their columns narrow."""
        words = [row[0].split() for row in self.rows]
        height = max(map(len, words))
        stacked = [[""] * (height - len(name)) + name for name in words]
        return [_latex_row(["", "", *line]) for line in zip(*stacked, strict=True)]

    def _latex_measures(self) -> list[str]:
        """The rows of a turned table: each measure once, then its checkpoints."""
        lines: list[str] = []
        before = None
        for title, *cells in zip(self.header[1:], *(row[1:] for row in self.rows), strict=True):
            measure, checkpoint = _measure_and_checkpoint(title)
            measure, checkpoint = (measure, checkpoint) if measure else (checkpoint, "")
            lines += ["\\addlinespace"] if before not in (None, measure) else []
            lines.append(_latex_row(["" if measure == before else measure, checkpoint, *cells]))
            before = measure
        return lines

    def _latex_header(self) -> list[str]:
        """The titles in two lines: the measures over their checkpoints."""
        pairs = [_measure_and_checkpoint(title) for title in self.header]
        above, rules, column = [], [], 1
        for title, group in groupby(pairs, key=lambda pair: pair[0]):
            width = len(list(group))
            above.append(f"\\multicolumn{{{width}}}{{c}}{{{_latex(title)}}}")
            rules += [f"\\cmidrule(lr){{{column}-{column + width - 1}}}"] if title else []
            column += width
        return [" & ".join(above) + r" \\", *rules, " & ".join(_latex(below) for _, below in pairs) + r" \\"]


def _width(columns: Iterable[Sequence[str]]) -> int:
    """The characters in a line of a table, with two between its columns."""
    return sum(2 + max(map(len, column)) for column in columns)


def _measure_and_checkpoint(title: str) -> tuple[str, str]:
    """A measure and its checkpoint; a title that names none is given as the second."""
    measure, _, checkpoint = title.rpartition(" ")
    return (measure, checkpoint) if checkpoint in CHECKPOINTS else ("", title)


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def _latex(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"^-(?=\d)", r"$-$", escaped)  # a number's sign, while the hyphens of a rule stay


def console(quiet: bool = False) -> Console:
    """Where a study prints: a terminal as wide as it is, a log in lines that hold a table."""
    return Console(quiet=quiet, width=None if sys.stdout.isatty() else _SCREEN, highlight=False)
