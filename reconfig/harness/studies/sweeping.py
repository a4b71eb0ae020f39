"""Many networks under one setting, on Ray or one after another: every job a task, what is finished never done again.

The jobs' folders are all there is to know: what a worker leaves there is what the table shows, what a resumed sweep
goes on from, and what the results are made of.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import reconfig
from reconfig.harness import files
from reconfig.harness.data.dataset import Dataset, load_dataset
from reconfig.harness.data.division import divide
from reconfig.harness.jobs import cluster
from reconfig.harness.jobs.in_turn import in_turn
from reconfig.harness.jobs.job import Job, jobs_by_seed
from reconfig.harness.jobs.network import plan_network
from reconfig.harness.jobs.ray_tasks import Finished, Timing, import_ray, on_ray
from reconfig.harness.options import SweepOptions
from reconfig.harness.reports import rule_results, sweep_results, table as printing
from reconfig.harness.reports.sweep_results import Report, Result
from reconfig.harness.studies import folder
from reconfig.harness.studies.board import watch
from reconfig.harness.studies.held import Planned, at_the_firsts, rules_at_cost
from reconfig.harness.studies.outlook import Outlook
from reconfig.harness.sweep import Compare, Configuration, Sweep, Variants
from reconfig.harness.training.checks import check_images

Runner = Callable[[Sequence[Job], SweepOptions, Timing], Iterator[Finished]]
"""Does jobs, after it has timed those that it is asked to, and says so as they end."""

_CSV = "results.csv"
_NAMED = 5
"""How many failures an error names; a bad setting would fail all the same way."""


class SweepError(reconfig.ReconfigError):
    """A sweep that cannot begin, or of which something failed."""


def run(sweep: Sweep, options: SweepOptions, runner: Runner | None = None) -> Path:
    """Run ``sweep`` and write what comes of it; the path of its CSV. All is checked before anything is written.

    ``runner`` does the jobs, if not as the options say.

    Raises:
        ReconfigError: One of its subclasses, for data, networks and folders that cannot be used. A ``SweepError``
            where some jobs failed: the results of the others have been written by then.
    """
    out = options.out
    folder.check(out, options.resume)
    dataset = load_dataset(sweep.data)
    possible, known = _configurations(sweep, dataset)
    config = folder.config(sweep, dataset, {each.folder: each.network for each in possible})
    folder.check_config(out, config, may_change=("limit", "seeds"))
    configurations = possible[: sweep.limit]
    plans = {each: known.get(each) or plan_network(each.network, dataset) for each in configurations}
    check_images(sweep.train, divide(dataset, sweep).counts(), 1)
    jobs = jobs_by_seed({each.folder: each.network for each in configurations}, sweep, out)
    in_order = [job for of_seed in zip(*jobs.values(), strict=True) for job in of_seed]  # a seed before the next
    waiting = [job for job in in_order if not job.is_done(len(dataset.test))]
    chosen = runner or (in_turn if options.here else on_ray)
    if chosen is on_ray and waiting and options.address is not None:
        import_ray()
        cluster.check(options.address)
    folder.prepare(out, config, [job.folder for job in in_order])

    console = printing.console()
    console.print(
        f"{sweep.title}: {len(configurations)} configurations of {dataset.name}, times seeds: {sweep.seeds};"
        f" {len(in_order) - len(waiting)} of {len(in_order)} trainings finished before",
        soft_wrap=True,
    )
    if isinstance(sweep, Compare):
        console.print(rule_results.budgets(sweep, plans).rich())

    def write() -> Report | None:
        found = _results(sweep, plans, jobs)
        return _write(out, sweep, found, dataset) if found else None

    ended: Iterator[Finished] = iter(())
    flops = {job: plans[each].flops for each in configurations for job in jobs[each.folder] if job in waiting}
    outlook = Outlook(flops, console)
    if waiting:
        ended = chosen(waiting, options, Timing(outlook.samples, outlook.tell))
    failed = watch(waiting, in_order, sweep, console, _after_each_seed(ended, in_order, write), outlook)
    report = write()
    if report is not None:
        for table in report.tables:
            console.print()
            console.print(table.rich())
        others = ", ".join(name for name in report.files if name != _CSV)
        console.print(f"\nResults: {out / _CSV} (also {others})", soft_wrap=True)
    if failed:
        some = "; ".join(f"{job.name}: {error}" for job, error in list(failed.items())[:_NAMED])
        raise SweepError(f"{len(failed)} of {len(in_order)} trainings failed ({some}). --resume tries them again")
    return out / _CSV


# -- what to do --------------------------------------------------------------------------------------------------------


def _configurations(sweep: Sweep, dataset: Dataset) -> tuple[tuple[Configuration, ...], Planned]:
    """The networks in their order, with the plans of those that had to be planned to know them."""
    if isinstance(sweep, Compare):
        planned = rules_at_cost(sweep, dataset)
        return tuple(planned), planned
    try:
        found = tuple(sweep.configurations())
    except ValueError as error:  # what a recipe says of values that make no sense
        raise SweepError(str(error)) from error
    if isinstance(sweep, Variants) and sweep.budget != "none":
        planned = at_the_firsts(found, sweep.budget, dataset)
        return tuple(planned), planned
    return found, {}


# -- what comes of it --------------------------------------------------------------------------------------------------


def _after_each_seed(
    ended: Iterator[Finished], in_order: Sequence[Job], write: Callable[[], object]
) -> Iterator[Finished]:
    """The jobs as they end; what is known is written whenever no other of a job's seed is left."""
    for job, wrong in ended:
        yield job, wrong
        if all(other.outcome() is not None for other in in_order if other.setting.seed == job.setting.seed):
            write()


def _results(sweep: Sweep, plans: Planned, jobs: Mapping[str, Sequence[Job]]) -> list[Result]:
    """What is finished: networks with all their seeds; where they are compared seed by seed, the seeds all have."""
    outcomes = {each: [job.outcome() for job in jobs[each.folder]] for each in plans}
    seeds = list(range(sweep.seeds))
    if isinstance(sweep, Compare):
        seeds = [number for number in seeds if all(runs[number] is not None for runs in outcomes.values())]
    found = []
    for each, plan in plans.items():
        runs = [run for number in seeds if (run := outcomes[each][number]) is not None]
        if runs and len(runs) == len(seeds):
            found.append(Result(each, plan, [jobs[each.folder][number] for number in seeds], runs))
    return found


def _write(out: Path, sweep: Sweep, found: Sequence[Result], dataset: Dataset) -> Report:
    """Write the results of what is finished."""
    command = shlex.join(["python", *sys.argv])
    if isinstance(sweep, Compare):
        report = rule_results.report(sweep, found, dataset, command)
    else:
        report = sweep_results.report(sweep, found, dataset, command)
    for name, text in report.files.items():
        files.write_text(out / name, text)
    return report
