"""What came of a sweep: for each configuration a row of results.csv and of the table, and its points in the figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import reconfig
from reconfig.harness import files
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.data.division import divide
from reconfig.harness.jobs.job import Job
from reconfig.harness.jobs.outcome import Outcome
from reconfig.harness.paper import Reported
from reconfig.harness.reports import notes, plots, results, statistics
from reconfig.harness.reports.plots import Point
from reconfig.harness.reports.results import Column
from reconfig.harness.reports.table import Table
from reconfig.harness.sweep import Configuration, Sweep, Variants

_ROBUST = ("pgd20", "best")
"""What networks are compared by."""
_FIGURES: dict[str, Callable[[Sequence[Point], Sweep], str]] = {
    "scatter": lambda points, sweep: plots.scatter(points, sweep.title),
    "panels": lambda points, sweep: plots.panels(points, sweep.axis),
    "line": lambda points, sweep: plots.line(points, sweep.axis, sweep.title),
    "ranking": lambda points, sweep: plots.ranking(points, sweep.title),
    "grid": lambda points, sweep: plots.grid(points, sweep.title),
}


@dataclass(frozen=True)
class Result:
    """A configuration that is finished for every seed."""

    configuration: Configuration
    plan: reconfig.Plan
    jobs: Sequence[Job]
    """One a seed."""
    outcomes: Sequence[Outcome]
    """Of these jobs."""


@dataclass(frozen=True)
class Report:
    """What is written of a sweep, and what is printed."""

    files: Mapping[str, str]
    """By their names; results.csv is one of them."""
    tables: Sequence[Table]


def report(sweep: Sweep, found: Sequence[Result], dataset: Dataset, command: str) -> Report:
    """The figures of all that is finished."""
    table = as_table(sweep, found, dataset)
    written = {
        "results.csv": as_csv(found),
        "figure.svg": as_figure(sweep, found),
        "table.md": table.markdown(),
        "table.tex": table.latex(),
        "result.json": files.json_text(as_json(found, command)),
    }
    return Report(written, [table])


def as_csv(found: Sequence[Result]) -> str:
    """The figures as CSV, a row for each configuration."""
    columns = _columns(found)
    return csv_text([_row(result, columns) for result in found])


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same columns as CSV, with a header."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _row(result: Result, columns: Sequence[Column]) -> dict[str, Any]:
    network, runs = result.configuration.network, result.outcomes
    row: dict[str, Any] = {
        "name": result.configuration.name,
        "network": network.model,
        "rule": network.rule or "",
        "gamma": result.plan.gamma,
        "params": runs[0].params,
        "flops": runs[0].flops,
        "seeds": len(runs),
    }
    for measure, checkpoint in columns:
        summary = statistics.summary(results.values(runs, (measure, checkpoint)))
        row |= {f"{measure}_{checkpoint}_mean": summary.mean, f"{measure}_{checkpoint}_std": summary.std}
    row["seconds"] = statistics.summary([run.seconds for run in runs]).mean
    reported = result.configuration.reported or Reported()
    return row | {f"paper_{name}": value for name, value in asdict(reported).items()}


def as_table(sweep: Sweep, found: Sequence[Result], dataset: Dataset) -> Table:
    """Configurations in their order, the paper's figures in the last columns; a comparison has a column of tests."""
    columns = _columns(found)
    papers = any(result.configuration.reported is not None for result in found)
    tested = isinstance(sweep, Variants)
    header = ["configuration", "parameters", "multiply-adds"]
    header += [f"{results.label(measure)} {checkpoint}" for measure, checkpoint in columns]
    header += ["against the first"] if tested else []
    header += ["paper: parameters", "paper: clean", "paper: PGD-20"] if papers else []
    rows = []
    for result in found:
        runs = result.outcomes
        row = [result.configuration.name, f"{runs[0].params:,}", f"{runs[0].flops / 1e6:,.2f} M"]
        row += [str(statistics.summary(results.values(runs, column))) for column in columns]
        row += [_against(found[0], result)] if tested else []
        rows.append(row + (_reported(result.configuration.reported) if papers else []))
    measures = list(dict.fromkeys(measure for measure, _ in columns))
    computing = notes.on_computing([run for result in found for run in result.outcomes], measures)
    return Table(header, rows, _notes(sweep, dataset, papers) + computing)


def _columns(found: Sequence[Result]) -> list[Column]:
    return results.columns([run for result in found for run in result.outcomes])


def _against(first: Result, result: Result) -> str:
    """By how much the network is more robust than the first, with the p-value of a test."""
    if result is first:
        return ""
    differences = results.differences((first.jobs, result.jobs), (first.outcomes, result.outcomes))
    return str(differences[_ROBUST])


def _reported(reported: Reported | None) -> list[str]:
    known = reported or Reported()
    about = "~" if known.about else ""
    return [
        f"{known.params_m:.2f} M" if known.params_m is not None else "",
        f"{known.clean:.2f}" if known.clean is not None else "",
        f"{about}{known.pgd20:g}" if known.pgd20 is not None else "",
    ]


def _notes(sweep: Sweep, dataset: Dataset, papers: bool) -> list[str]:
    counts = divide(dataset, sweep).counts()
    seeds = results.seeds_text(range(sweep.seed, sweep.seed + sweep.seeds))
    threat, train = sweep.threat, sweep.train
    found = [
        f"{sweep.title}. Accuracy in % on {counts['test']:,} test images of {dataset.name};"
        f" {threat.norm} eps {threat.eps}.",
        f"Trained with {train.method}, {train.epochs} epochs, {results.training_images(counts)}, {seeds}.",
        f"last: after the last epoch; best: the epoch of best PGD-20 accuracy on {results.selection(sweep, counts)}.",
    ]
    if papers:
        found.append("paper: Huang et al. (2021), SAT, 100 epochs on CIFAR-10, best; ~ marks what its text rounds.")
    return found


def as_figure(sweep: Sweep, found: Sequence[Result]) -> str:
    """The figure that the sweep asks for, as SVG."""
    return _FIGURES[sweep.figure]([point for result in found for point in _points(result)], sweep)


def _points(result: Result) -> list[Point]:
    configuration, runs = result.configuration, result.outcomes
    robust = statistics.summary(results.values(runs, _ROBUST))
    paper = configuration.reported.pgd20 if configuration.reported is not None else None
    return [
        Point(configuration.name, panel, x, runs[0].params, robust.mean, robust.std or 0.0, paper)
        for panel, x in configuration.positions
    ]


def as_json(found: Sequence[Result], command: str) -> dict[str, Any]:
    """What a program needs to know."""
    networks = {result.configuration.folder: [asdict(run) for run in result.outcomes] for result in found}
    return {"command": command, "networks": networks, "versions": results.versions()}
