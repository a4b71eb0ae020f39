"""Many networks under one setting, on Ray: every job a task, what is finished never done again.

The jobs' folders are all there is to know: what a worker leaves there is what the table shows, what a resumed sweep
goes on from, and what the results are made of.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

import reconfig
from reconfig.harness import files
from reconfig.harness.data.dataset import Dataset, load_dataset
from reconfig.harness.data.division import divide
from reconfig.harness.jobs import cluster
from reconfig.harness.jobs.job import Job, make_jobs
from reconfig.harness.jobs.network import IDENTITY, plan_network
from reconfig.harness.jobs.ray_tasks import Finished, Timing, import_ray, on_ray
from reconfig.harness.options import SweepOptions
from reconfig.harness.reports import sweep_results, table as printing
from reconfig.harness.reports.sweep_results import Result
from reconfig.harness.studies import folder
from reconfig.harness.studies.board import watch
from reconfig.harness.studies.outlook import Outlook
from reconfig.harness.sweep import Compare, Configuration, Sweep
from reconfig.harness.training.checks import check_images

Runner = Callable[[Sequence[Job], SweepOptions], Iterator[Finished]]
"""Does jobs, and says so as they end."""

_NAMED = 5
"""How many failures an error names; a bad setting would fail all the same way."""


class SweepError(reconfig.ReconfigError):
    """A sweep that cannot begin, or of which something failed."""


def run(sweep: Sweep, options: SweepOptions, runner: Runner | None = None) -> Path:
    """Run ``sweep`` by ``runner`` (Ray); the path of its CSV. All is checked before anything is written.

    Raises:
        ReconfigError: One of its subclasses, for data, networks and folders that cannot be used. A ``SweepError``
            where some jobs failed: the results of the others have been written by then.
    """
    out = options.out
    folder.check(out, options.resume)
    dataset = load_dataset(sweep.data)
    possible = _configurations(sweep, dataset)
    config = _config(sweep, possible, dataset)
    folder.check_config(out, config)
    configurations = possible[: sweep.limit]
    plans = {each.folder: plan_network(each.network, dataset) for each in configurations}
    check_images(sweep.train, divide(dataset, sweep).counts(), 1)
    jobs = make_jobs({each.folder: each.network for each in configurations}, sweep, out)
    in_turn = [job for of_seed in zip(*jobs.values(), strict=True) for job in of_seed]  # a seed before the next
    waiting = [job for job in in_turn if not job.is_done(len(dataset.test))]
    if runner is None and waiting and options.address is not None:
        import_ray()
        cluster.check(options.address)
    folder.prepare(out, config, [job.folder for job in in_turn])

    console = printing.console()
    console.print(
        f"{sweep.title}: {len(configurations)} configurations of {dataset.name}, times seeds: {sweep.seeds};"
        f" {len(in_turn) - len(waiting)} of {len(in_turn)} trainings finished before",
        soft_wrap=True,
    )
    flops = {job: plans[job.folder.name].flops for job in waiting}
    outlook = Outlook(flops, console)
    ended: Iterator[Finished] = iter(())
    if waiting:
        timing = Timing(outlook.samples, outlook.tell)
        ended = on_ray(waiting, options, timing) if runner is None else runner(waiting, options)
    failed = watch(waiting, in_turn, sweep, console, ended, outlook)
    finished = []
    for each in configurations:
        outcomes = [outcome for job in jobs[each.folder] if (outcome := job.outcome()) is not None]
        if len(outcomes) == sweep.seeds:
            finished.append(Result(each, plans[each.folder], jobs[each.folder], outcomes))
    path = _write(out, sweep, finished, dataset, console)
    if failed:
        some = "; ".join(f"{job.name}: {error}" for job, error in list(failed.items())[:_NAMED])
        raise SweepError(f"{len(failed)} of {len(in_turn)} trainings failed ({some}). --resume tries them again")
    return path


# -- what to do --------------------------------------------------------------------------------------------------------


def _config(sweep: Sweep, possible: Sequence[Configuration], dataset: Dataset) -> dict[str, Any]:
    """What config.json holds: the setting, and every network by the name of its folder. The limit may change later."""
    fields = folder.config(sweep, dataset, {each.folder: each.network for each in possible})
    del fields["limit"]
    return fields


def _configurations(sweep: Sweep, dataset: Dataset) -> tuple[Configuration, ...]:
    try:
        found = tuple(sweep.configurations())
    except ValueError as error:  # what a recipe says of values that make no sense
        raise SweepError(str(error)) from error
    if isinstance(sweep, Compare) and sweep.budget != "none":
        return at_budget(found, sweep.budget, dataset)
    return found


def at_budget(
    configurations: Sequence[Configuration], unit: Literal["params", "flops"], dataset: Dataset
) -> tuple[Configuration, ...]:
    """The configurations with the parameters ("params") or multiply-adds ("flops") of the first.

    Raises:
        ReconfigError: One of its subclasses, where the first cannot be built.
    """
    first, *others = configurations
    plan = plan_network(first.network, dataset)
    budget = (unit, {"params": plan.params, "flops": plan.flops}[unit])
    networks = [replace(other.network, rule=other.network.rule or IDENTITY, budget=budget) for other in others]
    return (first, *(replace(other, network=network) for other, network in zip(others, networks, strict=True)))


# -- what comes of it --------------------------------------------------------------------------------------------------


def _write(out: Path, sweep: Sweep, found: Sequence[Result], dataset: Dataset, console: Console) -> Path:
    """Write the results of the configurations that are finished; the path of the CSV."""
    path = out / "results.csv"
    if not found:
        return path
    table = sweep_results.as_table(sweep, found, dataset)
    files.write_text(path, sweep_results.as_csv(found))
    files.write_text(out / "table.md", table.markdown())
    files.write_text(out / "table.tex", table.latex())
    files.write_text(out / "figure.svg", sweep_results.as_figure(sweep, found))
    files.write_json(out / "result.json", sweep_results.as_json(found, shlex.join(["python", *sys.argv])))
    console.print()
    console.print(table.rich())
    console.print(f"\nResults: {path} (also figure.svg, table.md, table.tex, result.json)", soft_wrap=True)
    return path
