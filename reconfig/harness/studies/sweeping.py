"""Many networks under one setting, on Ray: every unit of work a task, what is finished never done again.

The units' folders are all there is to know: what a worker leaves there is what the table shows, what a resumed sweep
goes on from, and what the results are made of.
"""

from __future__ import annotations

import csv
import io
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rich.console import Console
from rich.live import Live
from rich.table import Table

import reconfig
from reconfig.harness import files
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.experiment import Network
from reconfig.harness.jobs import cluster
from reconfig.harness.jobs import job as unit
from reconfig.harness.jobs.job import Outcome, Unit
from reconfig.harness.machine import machine
from reconfig.harness.options import SweepOptions
from reconfig.harness.reports import plots, report, statistics
from reconfig.harness.reports.plots import Point
from reconfig.harness.reports.report import Column, Comparison
from reconfig.harness.studies import folder
from reconfig.harness.sweep import Compare, Configuration, Reported, Sweep
from reconfig.harness.training.training import check_images

Finished = tuple[Unit, str | None]
"""A unit that ended, and what went wrong with it, if anything did."""
Runner = Callable[[Sequence[Unit], SweepOptions], Iterator[Finished]]
"""Does units, and says so as they end."""

_SHOWN = 24
_BISECTIONS = 30
_ROBUST = ("pgd20", "best")
_FIGURES: dict[str, Callable[[Sequence[Point], Sweep], str]] = {
    "scatter": lambda points, sweep: plots.scatter(points, sweep.title),
    "panels": lambda points, sweep: plots.panels(points, sweep.axis),
    "line": lambda points, sweep: plots.line(points, sweep.axis, sweep.title),
    "ranking": lambda points, sweep: plots.ranking(points, sweep.title),
    "grid": lambda points, sweep: plots.grid(points, sweep.title),
}


class SweepError(reconfig.ReconfigError):
    """A sweep that cannot begin, or of which something failed."""


def run(sweep: Sweep, options: SweepOptions, runner: Runner | None = None) -> Path:
    """Run ``sweep`` by ``runner`` (Ray); the path of its CSV. All is checked before anything is written.

    Raises:
        ReconfigError: One of its subclasses, for data, networks and folders that cannot be used. A ``SweepError``
            where some units failed: the results of the others have been written by then.
    """
    out = options.out
    folder.check(out, options.resume)
    dataset = unit.load(sweep.data)
    possible = _configurations(sweep, dataset)
    config = _config(sweep, possible, dataset)
    folder.check_config(out, config)
    configurations = possible[: sweep.limit]
    plans = {each.folder: unit.plan(each.network, dataset) for each in configurations}
    check_images(sweep.train, unit.split(dataset, sweep).counts(), 1)
    units = unit.units({each.folder: each.network for each in configurations}, sweep, out)
    everything = [each for column in zip(*units.values(), strict=True) for each in column]  # a seed before the next
    waiting = [each for each in everything if each.outcome() is None]
    if runner is None and waiting and options.address is not None:
        _ray()
        cluster.check(options.address)
    folder.prepare(out, config, [each.folder for each in everything])

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(
        f"{sweep.title}: {len(configurations)} configurations of {dataset.name}, times seeds: {sweep.seeds};"
        f" {len(everything) - len(waiting)} of {len(everything)} trainings finished before",
        soft_wrap=True,
    )
    ended = (runner or on_ray)(waiting, options) if waiting else iter(())
    failed = _watch(waiting, everything, sweep, console, ended)
    results = _write(sweep, configurations, units, plans, dataset, out, console)
    if failed:
        some = "; ".join(f"{each.name}: {error}" for each, error in list(failed.items())[:5])
        raise SweepError(f"{len(failed)} of {len(everything)} trainings failed ({some}). --resume tries them again")
    return results


# -- what to do --------------------------------------------------------------------------------------------------------


def _config(sweep: Sweep, possible: Sequence[Configuration], dataset: Dataset) -> dict[str, Any]:
    """What config.json holds: the setting, and every network by the name of its folder. The limit may change later."""
    fields = folder.config(sweep, dataset.fingerprint())
    del fields["limit"]
    return fields | {each.folder: asdict(each.network) for each in possible}


def _configurations(sweep: Sweep, dataset: Dataset) -> tuple[Configuration, ...]:
    try:
        found = tuple(sweep.configurations())
    except ValueError as error:  # what a recipe says of values that make no sense
        raise SweepError(str(error)) from error
    if isinstance(sweep, Compare) and sweep.budget != "none":
        return at_budget(found, sweep.budget, dataset)
    return found


def at_budget(configurations: Sequence[Configuration], of: str, dataset: Dataset) -> tuple[Configuration, ...]:
    """The configurations with the parameters ("params") or multiply-adds ("flops") of the first.

    Raises:
        ReconfigError: One of its subclasses, where one of them cannot be built or cannot meet the budget.
    """
    first, *others = configurations
    target = unit.plan(first.network, dataset)
    networks = [
        replace(other.network, rule=other.network.rule or "10-10-10", budget=target.params)
        if of == "params"
        else _at_flops(other.network, target.flops, dataset)
        for other in others
    ]
    return (first, *(replace(other, network=network) for other, network in zip(others, networks, strict=True)))


def _at_flops(network: Network, target: int, dataset: Dataset) -> Network:
    """``network`` with the gamma whose multiply-adds come closest to ``target``; they never fall as gamma rises."""
    network = replace(network, rule=network.rule or "10-10-10")

    def flops(gamma: float) -> int:
        return unit.plan(replace(network, gamma=gamma), dataset).flops

    low, high = 0.0, 1.0
    while flops(high) < target:
        low, high = high, 2 * high
        if high > 64:
            raise SweepError(f"{network.name} does not reach {target:,} multiply-adds at any gamma up to 64")
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if flops(middle) < target else (low, middle)
        if high - low < 1e-4 * high:
            break
    return replace(network, gamma=min((low or high, high), key=lambda gamma: abs(flops(gamma) - target)))


# -- doing it ----------------------------------------------------------------------------------------------------------


def on_ray(units: Sequence[Unit], options: SweepOptions) -> Iterator[Finished]:
    """Do ``units`` as tasks of a Ray cluster, or of a Ray that lives as long as this takes.

    Raises:
        SweepError: If Ray is not installed or cannot be reached.
    """
    ray = _ray()
    gpus = options.gpus_per_run
    if gpus is None:
        gpus = 1.0 if torch.cuda.is_available() and units[0].setting.compute.device != "cpu" else 0.0
    runtime = {"env_vars": {"OMP_NUM_THREADS": str(options.cpus_per_run)}}
    cores = options.cpus or os.cpu_count() or 1
    if options.address is None and options.cpus_per_run > cores:
        raise SweepError(f"cpus_per_run is {options.cpus_per_run}, but Ray may use {cores} cores here; lower it")
    here = {"include_dashboard": False, "num_cpus": cores, "object_store_memory": 100 * 2**20}
    where = {"address": options.address} if options.address is not None else here
    try:
        ray.init(**where, runtime_env=runtime, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise SweepError(f"Ray does not start or cannot be reached: {files.reason(error)}") from error
    try:
        if options.address is None and gpus > ray.cluster_resources().get("GPU", 0):
            raise SweepError(f"gpus_per_run is {gpus:g}, but this machine has no GPU; leave --gpus-per-run out")
        # A worker that is lost (its machine went away) is tried again and goes on from its checkpoint.
        task = ray.remote(num_cpus=options.cpus_per_run, num_gpus=gpus, max_retries=3)(_work)
        running = {task.remote(each, options.save_every, options.cpus_per_run): each for each in units}
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            try:
                wrong = ray.get(done)
            except ray.exceptions.RayError as lost:
                wrong = files.reason(lost)
            yield running.pop(done), wrong
    finally:
        ray.shutdown()


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a task given no GPU sees none
    try:
        import ray
    except ImportError as error:
        raise SweepError("sweeps run on Ray, which is not installed: pip install 'robust-reconfig[sweep]'") from error
    return ray


def _work(task: Unit, save_every: float, threads: int) -> str | None:
    """One unit, in a process of its own; what went wrong, if anything did."""
    torch.set_num_threads(threads)
    try:
        computer = machine.start(task.setting.compute, "none", task.folder)
        unit.complete(task, unit.load(task.setting.data), computer, Console(quiet=True), save_every)
    except reconfig.ReconfigError as error:
        return str(error)
    return None


# -- showing it --------------------------------------------------------------------------------------------------------


def _watch(
    waiting: Sequence[Unit], everything: Sequence[Unit], sweep: Sweep, console: Console, ended: Iterator[Finished]
) -> dict[Unit, str]:
    """Show the sweep until its last unit has ended; those that failed, with the reason."""
    failed: dict[Unit, str] = {}
    done = len(everything) - len(waiting)
    with Live(
        get_renderable=lambda: _board(everything, failed, sweep),
        console=console,
        refresh_per_second=1,
        transient=True,
        auto_refresh=console.is_terminal,
    ):
        for each, error in ended:
            done += 1
            if error is not None:
                failed[each] = error
            console.print(f"{done}/{len(everything)}  {each.name}  {_state(each, failed, sweep)[0]}", soft_wrap=True)
    return failed


def _board(everything: Sequence[Unit], failed: Mapping[Unit, str], sweep: Sweep) -> Table:
    """What is running, and then the most robust of what is finished, as far as a screen holds."""
    rows = [(each, *_state(each, failed, sweep)) for each in everything]
    begun = [row for row in rows if row[2] is not None]
    begun.sort(key=lambda row: (row[1].startswith(("finished", "failed")), -(row[2] or 0)))
    finished = sum(row[1].startswith("finished") for row in rows)
    table = Table(title=f"{sweep.title}: {finished} of {len(rows)} finished, {len(failed)} failed")
    table.add_column("network")
    table.add_column("state")
    table.add_column("best PGD-20 (%)", justify="right")
    for each, state, robust in begun[:_SHOWN]:
        table.add_row(each.name, state, f"{robust:.2f}")
    return table


def _state(each: Unit, failed: Mapping[Unit, str], sweep: Sweep) -> tuple[str, float | None]:
    """Where a unit stands, and its best PGD-20 accuracy so far: on selection images until it has been measured."""
    if each in failed:
        return f"failed: {failed[each]}", 0.0
    outcome = each.outcome()
    if outcome is not None:
        robust = outcome.scores["best"]["pgd20"]
        return f"finished, PGD-20 {robust:.2f} % in {outcome.seconds:,.0f} s", robust
    rows = each.history()
    if not rows and not (each.folder / "plan.json").exists():
        return "waiting", None
    return f"epoch {len(rows)}/{sweep.train.epochs}", max((row["pgd20"] for row in rows), default=0.0)


# -- what comes of it --------------------------------------------------------------------------------------------------


def _write(
    sweep: Sweep,
    configurations: Sequence[Configuration],
    units: Mapping[str, Sequence[Unit]],
    plans: Mapping[str, reconfig.Plan],
    dataset: Dataset,
    out: Path,
    console: Console,
) -> Path:
    """Write the results of all configurations that are finished for every seed."""
    found = {place: [each.outcome() for each in runs] for place, runs in units.items()}
    outcomes = {place: [run for run in runs if run is not None] for place, runs in found.items() if None not in runs}
    finished = [each for each in configurations if each.folder in outcomes]
    path = out / "results.csv"
    if not finished:
        return path
    columns = report.columns([run for runs in outcomes.values() for run in runs])
    rows = [_row(each, plans[each.folder], outcomes[each.folder], columns) for each in finished]
    files.write_text(path, _csv(rows))
    table = _table(sweep, finished, units, outcomes, columns, dataset)
    files.write_text(out / "table.md", table.markdown())
    files.write_text(out / "table.tex", table.latex())
    files.write_text(out / "figure.svg", _FIGURES[sweep.figure](_points(finished, outcomes), sweep))
    files.write_json(
        out / "result.json",
        {
            "command": shlex.join(["python", *sys.argv]),
            "networks": {place: [asdict(run) for run in runs] for place, runs in outcomes.items()},
            "versions": report.versions(),
        },
    )
    console.print()
    console.print(table.rich())
    console.print(f"\nResults: {path} (also figure.svg, table.md, table.tex, result.json)", soft_wrap=True)
    return path


def _row(
    configuration: Configuration, plan: reconfig.Plan, runs: Sequence[Outcome], columns: Sequence[Column]
) -> dict[str, Any]:
    network, reported = configuration.network, configuration.reported or Reported()
    row: dict[str, Any] = {
        "name": configuration.name,
        "factory": network.factory,
        "rule": network.rule or "",
        "gamma": plan.gamma,
        "params": runs[0].params,
        "flops": runs[0].flops,
        "seeds": len(runs),
    }
    for measure, checkpoint in columns:
        summary = statistics.summary(report.values(runs, (measure, checkpoint)))
        row |= {f"{measure}_{checkpoint}_mean": summary.mean, f"{measure}_{checkpoint}_std": summary.std}
    row["seconds"] = statistics.summary([run.seconds for run in runs]).mean
    return row | {f"paper_{name}": value for name, value in asdict(reported).items()}


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _table(
    sweep: Sweep,
    configurations: Sequence[Configuration],
    units: Mapping[str, Sequence[Unit]],
    outcomes: Mapping[str, Sequence[Outcome]],
    columns: Sequence[Column],
    dataset: Dataset,
) -> Comparison:
    """Configurations in their order, the paper's figures in the last columns; a comparison has a column of tests."""
    papers = any(each.reported is not None for each in configurations)
    tested = isinstance(sweep, Compare)
    header = ["configuration", "parameters", "multiply-adds"]
    header += [f"{report.label(measure)} {checkpoint}" for measure, checkpoint in columns]
    header += ["against the first"] if tested else []
    header += ["paper: parameters", "paper: clean", "paper: PGD-20"] if papers else []
    rows = []
    first = configurations[0].folder
    for each in configurations:
        runs = outcomes[each.folder]
        row = [each.name, f"{runs[0].params:,}", f"{runs[0].flops / 1e6:,.2f} M"]
        row += [str(statistics.summary(report.values(runs, column))) for column in columns]
        if tested:
            pair = (first, each.folder)
            apart = report.differences([units[place] for place in pair], [outcomes[place] for place in pair])
            row.append(str(apart[_ROBUST]) if each.folder != first else "")
        rows.append(row + (_reported(each.reported) if papers else []))
    return Comparison(header, rows, _notes(sweep, dataset, papers))


def _reported(reported: Reported | None) -> list[str]:
    known = reported or Reported()
    about = "~" if known.about else ""
    return [
        f"{known.params_m:.2f} M" if known.params_m is not None else "",
        f"{known.clean:.2f}" if known.clean is not None else "",
        f"{about}{known.pgd20:g}" if known.pgd20 is not None else "",
    ]


def _notes(sweep: Sweep, dataset: Dataset, papers: bool) -> list[str]:
    counts = unit.split(dataset, sweep).counts()
    seeds = report.seeds_text(range(sweep.seed, sweep.seed + sweep.seeds))
    threat, train = sweep.threat, sweep.train
    notes = [
        f"{sweep.title}. Accuracy in % on {counts['test']:,} test images of {dataset.name};"
        f" {threat.norm} eps {threat.eps}.",
        f"Trained with {train.method}, {train.epochs} epochs, {report.training_images(counts)}, {seeds}.",
        f"last: after the last epoch; best: the epoch of best PGD-20 accuracy on {report.selection(sweep, counts)}.",
    ]
    if papers:
        notes.append("paper: Huang et al. (2021), SAT, 100 epochs on CIFAR-10, best; ~ marks what its text rounds.")
    return notes


def _points(configurations: Sequence[Configuration], outcomes: Mapping[str, Sequence[Outcome]]) -> list[Point]:
    points = []
    for each in configurations:
        runs = outcomes[each.folder]
        robust = statistics.summary([run.scores["best"]["pgd20"] for run in runs])
        paper = each.reported.pgd20 if each.reported is not None else None
        points += [
            Point(each.name, panel, x, runs[0].params, robust.mean, robust.std or 0.0, paper)
            for panel, x in each.places
        ]
    return points
