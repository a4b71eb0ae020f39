"""What came of two networks: the table that compares them, and result.json."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from reconfig.harness import verdicts
from reconfig.harness.experiment import Experiment, Setting
from reconfig.harness.jobs.job import Job
from reconfig.harness.jobs.outcome import CHECKPOINTS, Outcome
from reconfig.harness.measuring.measures import MEASURES
from reconfig.harness.measuring.scores import VERDICTS
from reconfig.harness.reports import notes, statistics
from reconfig.harness.reports.statistics import Difference
from reconfig.harness.reports.table import Table

Column = tuple[str, str]
"""A measure and a checkpoint."""


def compare(
    experiment: Experiment,
    outcomes: Mapping[str, Sequence[Outcome]],
    data: Mapping[str, Any],
    differences: Mapping[Column, Difference],
) -> Table:
    """The networks by their roles, each over its seeds and followed by the paper's row for it, where there is one.

    The last row is what the variant has more than the original: ``differences``, from ``differences``.
    """
    chosen = list(differences)
    header = ["network", "parameters"] + [f"{label(measure)} {checkpoint}" for measure, checkpoint in chosen]
    rows = []
    for number, runs in enumerate(outcomes.values()):
        cells = [str(statistics.summary(values(runs, column))) for column in chosen]
        rows.append([runs[0].name, f"{runs[0].params:,}", *cells])
        if experiment.paper is not None:
            paper = experiment.paper[number]
            cells = [notes.paper_cell(paper, measure, checkpoint) for measure, checkpoint in chosen]
            rows.append([f"paper: {paper.model}", f"{paper.params_m:.2f} M", *cells])
    original, variant = (runs[0].params for runs in outcomes.values())
    rows.append(["difference", f"{variant / original - 1:+.1%}", *(str(differences[column]) for column in chosen)])
    return Table(header, rows, _notes(experiment, outcomes, data, differences))


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


def differences(jobs: Iterable[Sequence[Job]], outcomes: Iterable[Sequence[Outcome]]) -> dict[Column, Difference]:
    """What the second of two networks has more than the first in each column.

    Tested over seeds where there are several, else over the images that both were judged on in the same way.
    """
    (first_jobs, second_jobs), (original, variant) = jobs, outcomes
    found = {}
    for column in columns([*original, *variant]):
        pairs = (first_jobs[0], original[0]), (second_jobs[0], variant[0])
        difference = by_images(*pairs, column) if len(original) == 1 else None
        if difference is None:
            difference = statistics.over_seeds(values(original, column), values(variant, column))
        counts = {len(right) for pair in pairs if (right := _right(*pair, column)) is not None}
        found[column] = replace(difference, images=tuple(sorted(counts)))
    return found


def by_images(first: tuple[Job, Outcome], second: tuple[Job, Outcome], column: Column) -> Difference | None:
    """What the second of two trained networks has more than the first, tested over images.

    None where it was not kept on which images they are right, or they were judged differently.
    """
    measure, checkpoint = column
    one, other = _right(*first, column), _right(*second, column)
    alike = first[1].computed[checkpoint][measure] == second[1].computed[checkpoint][measure]
    if one is None or other is None or len(one) != len(other) or not alike:
        return None
    return statistics.over_images(one, other)


def _right(job: Job, outcome: Outcome, column: Column) -> torch.Tensor | None:
    """Whether the network of ``job`` is right on each image, bool [N], if that was kept."""
    measure, checkpoint = column
    path = job.folder / outcome.measured(checkpoint) / VERDICTS
    return verdicts.read(path)[0].get(measure) if path.exists() else None


def _notes(
    experiment: Experiment,
    outcomes: Mapping[str, Sequence[Outcome]],
    data: Mapping[str, Any],
    differences: Mapping[Column, Difference],
) -> list[str]:
    threat, train = experiment.threat, experiment.train
    seeds = [run.seed for run in next(iter(outcomes.values()))]
    epochs = "; ".join(
        f"{runs[0].name}: {', '.join(str(run.epochs['best']) for run in runs)}" for runs in outcomes.values()
    )
    tests = list(dict.fromkeys(each.test for each in differences.values() if each.test is not None))
    found = [
        f"Accuracy in % on {data['test']:,} test images of {data['name']}; {threat.norm} eps {threat.eps}.",
        f"Trained with {train.method}, {train.epochs} epochs, {training_images(data)}, {seeds_text(seeds)}.",
        f"last: after the last epoch; best: the epoch of best PGD-20 accuracy on {selection(experiment, data)}"
        f" ({epochs}).",
        "difference: what the variant has more than the original" + (f"; p by {' or '.join(tests)}." if tests else "."),
    ]
    fewer = {measure: each.images for (measure, _), each in differences.items() if {*each.images} - {data["test"]}}
    found += [
        f"{label(measure)}: on the first {' and '.join(f'{count:,}' for count in counts)} test images."
        for measure, counts in fewer.items()
    ]
    measures = list(dict.fromkeys(measure for measure, _ in differences))
    found += notes.on_computing([run for runs in outcomes.values() for run in runs], measures)
    if experiment.paper is not None:
        found += notes.on_the_paper(experiment.paper, measures)
    return found


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
    differences: Mapping[Column, Difference],
    command: str,
    hardware: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything a program needs to know about a run."""
    table: dict[str, dict[str, Any]] = {}
    for column, difference in differences.items():
        summaries = {role: asdict(statistics.summary(values(runs, column))) for role, runs in outcomes.items()}
        measure, checkpoint = column
        table.setdefault(measure, {})[checkpoint] = summaries | {"difference": asdict(difference)}
    return {
        "command": command,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": experiment.seed,
        "select": experiment.evaluate.select,
        "data": dict(data),
        "networks": {role: [asdict(run) for run in runs] for role, runs in outcomes.items()},
        "statistics": table,
        "experiment": asdict(experiment),
        "hardware": dict(hardware),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions of what decides a result."""
    packages = ("robust-reconfig", "accelerate", "numpy", "timm", "torchvision")
    found = {"python": platform.python_version(), "torch": torch.__version__}  # with the CUDA it was built for
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # timm is optional, and a checkout may be run from where it lies
            found[package] = "not installed"
    return found
