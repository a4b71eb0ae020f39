"""What a run leaves for people and for programs: the comparison table and the result file."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from rich.table import Table

from recipes.experiment import Experiment, PaperRow

LABELS = {"clean": "clean", "fgsm": "FGSM", "pgd20": "PGD-20"}
CHECKPOINTS = ("last", "best")


@dataclass(frozen=True)
class Outcome:
    """One trained network, measured."""

    name: str
    params: int
    scores: dict[str, dict[str, float]]
    """Checkpoint -> measure -> accuracy in %."""
    epochs: dict[str, int]
    """Checkpoint -> the epoch it was saved after, counted from 1."""
    seconds: float
    """Time spent training."""


@dataclass(frozen=True)
class Comparison:
    """The table of a run as text: one header, rows of cells, and what has to be said about them."""

    header: list[str]
    rows: list[list[str]]
    notes: list[str]

    def rich(self) -> Table:
        """For the terminal."""
        table = Table(caption="\n".join(self.notes), caption_justify="left")
        for number, title in enumerate(self.header):
            table.add_column(title, justify="right" if number else "left", no_wrap=not number)
        for row in self.rows:
            table.add_row(*row, style="dim" if row[0].startswith("paper") else "")
        return table

    def markdown(self) -> str:
        """For files."""
        lines = [self.header, ["---"] + ["---:"] * (len(self.header) - 1), *self.rows]
        table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        return table + "\n\n" + "\n".join(f"- {note}" for note in self.notes) + "\n"


def compare(experiment: Experiment, outcomes: list[Outcome], data: dict[str, Any]) -> Comparison:
    """The networks in the order given, each followed by the paper's row for it, where there is one."""
    measures = ["clean", *experiment.evaluate.attacks]
    columns = [(measure, checkpoint) for measure in measures for checkpoint in CHECKPOINTS]
    header = ["network", "parameters"] + [f"{LABELS[measure]} {checkpoint}" for measure, checkpoint in columns]
    rows = []
    for place, outcome in enumerate(outcomes):
        cells = [f"{outcome.scores[checkpoint][measure]:.2f}" for measure, checkpoint in columns]
        rows.append([outcome.name, f"{outcome.params:,}", *cells])
        if experiment.paper is not None:
            paper = experiment.paper[place]
            cells = [_paper_cell(paper, measure, checkpoint) for measure, checkpoint in columns]
            rows.append([f"paper: {paper.model}", f"{paper.params_m:.2f} M", *cells])
    return Comparison(header, rows, _notes(experiment, outcomes, data))


def _paper_cell(paper: PaperRow, measure: str, checkpoint: str) -> str:
    figures: tuple[float, float] = getattr(paper, measure)
    return f"{figures[CHECKPOINTS.index(checkpoint)]:.2f}" + (" ?" if measure in paper.unsure else "")


def _notes(experiment: Experiment, outcomes: list[Outcome], data: dict[str, Any]) -> list[str]:
    threat, train, seed = experiment.threat, experiment.train, experiment.seed
    selection = (
        f"{data['selection']:,} images held out of the training set"
        if experiment.evaluate.select == "holdout"
        else "the test images"
    )
    epochs = ", ".join(f"{outcome.name}: {outcome.epochs['best']}" for outcome in outcomes)
    notes = [
        f"Accuracy in % on {data['test']:,} test images of {data['name']}; {threat.norm} eps {threat.eps}.",
        f"Trained with {train.method}, {train.epochs} epochs, {data['train']:,} images, seed {seed}.",
        f"last: after the last epoch; best: the epoch of best PGD-20 accuracy on {selection} ({epochs}).",
    ]
    if experiment.paper is not None:
        notes.append("paper: Huang et al. (2021), Table 2: SAT, 100 epochs on CIFAR-10, best selected on test images.")
    return notes


def result(
    experiment: Experiment,
    outcomes: dict[str, Outcome],
    data: dict[str, Any],
    command: str,
    hardware: dict[str, Any],
) -> dict[str, Any]:
    """Everything a program needs to know about a run."""
    return {
        "command": command,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": experiment.seed,
        "select": experiment.evaluate.select,
        "data": data,
        "networks": {place: asdict(outcome) for place, outcome in outcomes.items()},
        "experiment": asdict(experiment),
        "hardware": hardware,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    packages = ("robust-reconfig", "accelerate", "numpy")
    found = {"python": platform.python_version(), "torch": torch.__version__}  # with the CUDA it was built for
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[package] = "not installed"
    return found
