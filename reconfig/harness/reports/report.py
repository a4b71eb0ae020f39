"""What a run leaves for people and for programs: the comparison table and the result file."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from typing import Any

import torch
from rich.table import Table

from reconfig.harness import verdicts
from reconfig.harness.experiment import Experiment, PaperRow, Setting
from reconfig.harness.jobs.job import CHECKPOINTS, Outcome, Unit
from reconfig.harness.measuring.evaluate import MEASURES, VERDICTS
from reconfig.harness.reports import statistics
from reconfig.harness.reports.statistics import Difference

Column = tuple[str, str]
"""A measure and a checkpoint."""
_SCREEN, _PAGE = 140, 70
"""How many characters fit in a line."""
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
class Comparison:
    """A table of results as text: one header, rows of cells, and what has to be said about them.

    Titles that end in the name of a checkpoint stand together by what is before it. Where a table would be too wide
    for a screen or for a page, what was measured stands in its rows, and the networks beside each other.
    """

    header: list[str]
    rows: list[list[str]]
    notes: list[str]

    def for_screen(self) -> Comparison:
        """The table as a screen shows it: turned, where it would be too wide."""
        return self._turned() if self._is_wide(_SCREEN) else self

    def _is_wide(self, most: int) -> bool:
        """Whether a line has more than ``most`` characters, and fewer in the turned table."""
        plain = [[*title.split(), *cells] for title, *cells in zip(self.header, *self.rows, strict=True)]
        turned = [self.header, *([*name.split(), *cells] for name, *cells in self.rows)]
        return max(most, _width(turned)) < _width(plain)

    def _turned(self) -> Comparison:
        header, *rows = map(list, zip(self.header, *self.rows, strict=True))
        return Comparison(["", *header[1:]], rows, self.notes)

    def rich(self) -> Table:
        """For the terminal."""
        shown = self.for_screen()
        table = Table(caption="\n".join(self.notes), caption_justify="left")
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
            measure, checkpoint = _split(title)
            measure, checkpoint = (measure, checkpoint) if measure else (checkpoint, "")
            lines += ["\\addlinespace"] if before not in (None, measure) else []
            lines.append(_latex_row(["" if measure == before else measure, checkpoint, *cells]))
            before = measure
        return lines

    def _latex_header(self) -> list[str]:
        """The titles in two lines: the measures over their checkpoints."""
        pairs = [_split(title) for title in self.header]
        above, rules, place = [], [], 1
        for title, group in groupby(pairs, key=lambda pair: pair[0]):
            width = len(list(group))
            above.append(f"\\multicolumn{{{width}}}{{c}}{{{_latex(title)}}}")
            rules += [f"\\cmidrule(lr){{{place}-{place + width - 1}}}"] if title else []
            place += width
        return [" & ".join(above) + r" \\", *rules, " & ".join(_latex(below) for _, below in pairs) + r" \\"]


def _width(columns: Iterable[Sequence[str]]) -> int:
    """The characters in a line of a table, with two between its columns."""
    return sum(2 + max(map(len, column)) for column in columns)


def _split(title: str) -> tuple[str, str]:
    """A measure and its checkpoint; a title that names none stands in the second place."""
    measure, _, checkpoint = title.rpartition(" ")
    return (measure, checkpoint) if checkpoint in CHECKPOINTS else ("", title)


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def _latex(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"^-(?=\d)", r"$-$", escaped)  # a number's sign, while the hyphens of a rule stay


def compare(
    experiment: Experiment,
    outcomes: Mapping[str, Sequence[Outcome]],
    data: Mapping[str, Any],
    apart: Mapping[Column, Difference],
) -> Comparison:
    """The networks by their places, each over its seeds and followed by the paper's row for it, where there is one.

    The last row is what the variant has more than the original: ``apart``, from ``differences``.
    """
    chosen = list(apart)
    header = ["network", "parameters"] + [f"{label(measure)} {checkpoint}" for measure, checkpoint in chosen]
    rows = []
    for place, runs in enumerate(outcomes.values()):
        cells = [str(statistics.summary(values(runs, column))) for column in chosen]
        rows.append([runs[0].name, f"{runs[0].params:,}", *cells])
        if experiment.paper is not None:
            paper = experiment.paper[place]
            cells = [_paper_cell(paper, measure, checkpoint) for measure, checkpoint in chosen]
            rows.append([f"paper: {paper.model}", f"{paper.params_m:.2f} M", *cells])
    original, variant = (runs[0].params for runs in outcomes.values())
    rows.append(["difference", f"{variant / original - 1:+.1%}", *(str(apart[column]) for column in chosen)])
    return Comparison(header, rows, _notes(experiment, outcomes, data, apart))


def columns(runs: Sequence[Outcome]) -> list[Column]:
    """What was measured of each of ``runs`` at each checkpoint, in the order of the table.

    An attack made later may have been made on some of them only.
    """
    held = [measures for run in runs for measures in run.scores.values()]
    everywhere = [measure for measure in held[0] if all(measure in measures for measures in held)]
    return [(measure, checkpoint) for measure in everywhere for checkpoint in CHECKPOINTS]


def values(runs: Sequence[Outcome], column: Column) -> list[float]:
    """What each run of a network measured."""
    measure, checkpoint = column
    return [run.scores[checkpoint][measure] for run in runs]


def label(measure: str) -> str:
    """The title of a measure, with its unit unless that is %."""
    found = MEASURES[measure]
    return found.label if found.unit in ("", "%") else f"{found.label} [{found.unit}]"


def differences(units: Iterable[Sequence[Unit]], outcomes: Iterable[Sequence[Outcome]]) -> dict[Column, Difference]:
    """What the second of two networks has more than the first in each column.

    Tested over seeds where there are several, else over the images that both were judged on.
    """
    (first_units, second_units), (original, variant) = units, outcomes
    found = {}
    for column in columns([*original, *variant]):
        first = _verdicts(first_units[0], original[0], column)
        second = _verdicts(second_units[0], variant[0], column)
        if len(original) == 1 and first is not None and second is not None and len(first) == len(second):
            difference = statistics.over_images(first, second)
        else:
            difference = statistics.over_seeds(values(original, column), values(variant, column))
        counts = {len(judged) for judged in (first, second) if judged is not None}
        found[column] = replace(difference, images=tuple(sorted(counts)))
    return found


def _verdicts(unit: Unit, outcome: Outcome, column: Column) -> torch.Tensor | None:
    """Whether the network of ``unit`` is right on each image, bool [N], if that was kept."""
    measure, checkpoint = column
    path = unit.folder / outcome.measured(checkpoint) / VERDICTS
    return verdicts.read(path)[0].get(measure) if path.exists() else None


def _paper_cell(paper: PaperRow, measure: str, checkpoint: str) -> str:
    figures: tuple[float, float] | None = getattr(paper, measure, None)
    if figures is None:
        return "–"
    return f"{figures[CHECKPOINTS.index(checkpoint)]:.2f}" + (" ?" if measure in paper.unsure else "")


def _notes(
    experiment: Experiment,
    outcomes: Mapping[str, Sequence[Outcome]],
    data: Mapping[str, Any],
    apart: Mapping[Column, Difference],
) -> list[str]:
    threat, train = experiment.threat, experiment.train
    seeds = [run.seed for run in next(iter(outcomes.values()))]
    epochs = "; ".join(
        f"{runs[0].name}: {', '.join(str(run.epochs['best']) for run in runs)}" for runs in outcomes.values()
    )
    tests = list(dict.fromkeys(each.test for each in apart.values() if each.test is not None))
    notes = [
        f"Accuracy in % on {data['test']:,} test images of {data['name']}; {threat.norm} eps {threat.eps}.",
        f"Trained with {train.method}, {train.epochs} epochs, {training_images(data)}, {seeds_text(seeds)}.",
        f"last: after the last epoch; best: the epoch of best PGD-20 accuracy on {selection(experiment, data)}"
        f" ({epochs}).",
        "difference: what the variant has more than the original" + (f"; p by {' or '.join(tests)}." if tests else "."),
    ]
    fewer = {measure: each.images for (measure, _), each in apart.items() if {*each.images} - {data["test"]}}
    notes += [
        f"{label(measure)}: on the first {' and '.join(f'{count:,}' for count in counts)} test images."
        for measure, counts in fewer.items()
    ]
    if experiment.paper is not None:
        notes.append("paper: Huang et al. (2021), Table 2, 100 epochs on CIFAR-10, best selected on test images.")
    return notes


def training_images(counts: Mapping[str, Any]) -> str:
    """How many images train, in words."""
    extra = f" and {counts['extra']:,} extra" if "extra" in counts else ""
    return f"{counts['train']:,}{extra} images"


def seeds_text(seeds: Sequence[int]) -> str:
    """Which seeds, and what several of them mean for a cell."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"seeds {', '.join(map(str, seeds))} (mean ± standard deviation)"


def selection(setting: Setting, data: Mapping[str, Any]) -> str:
    """The images that selected the best checkpoint, in words."""
    if setting.evaluate.select == "test":
        return "the test images"
    return f"{data['selection']:,} images held out of the training set"


def result(
    experiment: Experiment,
    outcomes: Mapping[str, Sequence[Outcome]],
    data: Mapping[str, Any],
    apart: Mapping[Column, Difference],
    command: str,
    hardware: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything a program needs to know about a run."""
    table: dict[str, dict[str, Any]] = {}
    for column, difference in apart.items():
        summaries = {place: asdict(statistics.summary(values(runs, column))) for place, runs in outcomes.items()}
        measure, checkpoint = column
        table.setdefault(measure, {})[checkpoint] = summaries | {"difference": asdict(difference)}
    return {
        "command": command,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": experiment.seed,
        "select": experiment.evaluate.select,
        "data": dict(data),
        "networks": {place: [asdict(run) for run in runs] for place, runs in outcomes.items()},
        "statistics": table,
        "experiment": asdict(experiment),
        "hardware": dict(hardware),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions of what decides a result."""
    packages = ("robust-reconfig", "accelerate", "numpy")
    found = {"python": platform.python_version(), "torch": torch.__version__}  # with the CUDA it was built for
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[package] = "not installed"
    return found
