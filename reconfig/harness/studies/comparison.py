"""A whole run: both networks of an experiment trained and measured, for each seed, and compared."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from reconfig import Plan
from reconfig.errors import NetworkError
from reconfig.harness import files, records
from reconfig.harness.data.dataset import Dataset, load_dataset
from reconfig.harness.data.division import divide
from reconfig.harness.experiment import Experiment
from reconfig.harness.jobs.footprint import needed
from reconfig.harness.jobs.job import complete, make_jobs
from reconfig.harness.jobs.network import plan_network
from reconfig.harness.machine import machine, trackers
from reconfig.harness.options import SAVE_EVERY
from reconfig.harness.reports import page, results, table as printing
from reconfig.harness.studies import folder
from reconfig.harness.training.checks import check_images


def run(
    experiment: Experiment,
    out: Path | str,
    *,
    resume: bool = False,
    save_every: float = SAVE_EVERY,
    tracker: str = "none",
) -> Path:
    """Train, attack and compare the networks of ``experiment``. All is checked before anything is written.

    Args:
        experiment: what to do.
        out: folder for everything that is written.
        resume: go on with what an earlier run of the same experiment left in ``out``.
        save_every: seconds between checkpoints within an epoch.
        tracker: a tracker of accelerate's that logs each epoch as well, such as tensorboard.

    Returns:
        The path of the report, an HTML page.

    Raises:
        ReconfigError: One of its subclasses, for data, networks, folders and checkpoints that cannot be used.
    """
    out = Path(out)
    folder.check(out, resume)
    dataset = load_dataset(experiment.data, needed(experiment.networks.values(), experiment))
    config = folder.config(experiment, dataset, experiment.networks)
    folder.check_config(out, config)
    plans = {role: plan_network(network, dataset) for role, network in experiment.networks.items()}
    _check_differ(experiment, plans, dataset)
    counts = divide(dataset, experiment).counts()

    computer = machine.start(experiment.compute, tracker, out)
    console = printing.console(quiet=not computer.main)
    check_images(experiment.train, counts, computer.accelerator.num_processes)
    jobs = make_jobs(experiment.networks, experiment, out)
    in_turn = [job for pair in zip(*jobs.values(), strict=True) for job in pair]  # a seed is done before the next
    if computer.main:
        folder.prepare(out, config, [job.folder for job in in_turn])
    computer.accelerator.wait_for_everyone()
    described = {name: value for name, value in records.flat(config).items() if name != "data.path"}  # which may change
    networks = [job.folder.relative_to(out).as_posix() for job in in_turn]
    curves = trackers.begin(computer.accelerator, out, described, networks, resume)

    if curves is not None:
        console.print(f"Curves: {curves}", soft_wrap=True)
    console.print(f"{dataset.name}: " + ", ".join(f"{count:,} for {use}" for use, count in counts.items()))
    done = {job: complete(job, dataset, computer, console, save_every) for job in in_turn}
    outcomes = {role: [done[job] for job in of_role] for role, of_role in jobs.items()}
    data = {"name": dataset.name, "fingerprint": dataset.fingerprint(), "classes": dataset.classes} | counts
    differences = results.differences(jobs.values(), outcomes.values())
    table = results.compare(experiment, outcomes, data, differences)
    if computer.main:
        command = shlex.join(["python", *sys.argv])
        result = results.result(experiment, outcomes, data, differences, command, computer.hardware())
        files.write_text(out / "table.md", table.markdown())
        files.write_text(out / "table.tex", table.latex())
        files.write_json(out / "result.json", result)
        files.write_text(out / "report.html", page.render(experiment, table, plans, jobs, outcomes, result))
    computer.accelerator.end_training()
    console.print()
    console.print(table.rich())
    console.print(f"\nReport: {out / 'report.html'} (also table.md, table.tex, result.json)", soft_wrap=True)
    return out / "report.html"


def _check_differ(experiment: Experiment, plans: Mapping[str, Plan], dataset: Dataset) -> None:
    """See that there is something to compare.

    Raises:
        NetworkError: If both networks are the same, tensor by tensor.
    """
    original, variant = experiment.original, experiment.variant
    if original.model == variant.model and plans["original"].after == plans["variant"].after:
        _, height, width = dataset.shape
        raise NetworkError(
            f"{variant.name} is {original.name} itself: with images of {width}x{height} pixels, the rule finds nothing"
            " to change. `reconfig stages` shows the stages at a size; give another rule, or larger images"
        )
