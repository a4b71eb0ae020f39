"""A whole run: both networks of an experiment trained and measured, for each seed, and compared."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from rich.console import Console

from reconfig.harness import files
from reconfig.harness.experiment import Experiment
from reconfig.harness.jobs import job as unit
from reconfig.harness.machine import machine, trackers
from reconfig.harness.options import Options
from reconfig.harness.reports import page, report
from reconfig.harness.studies import folder
from reconfig.harness.training.training import check_images


def run(experiment: Experiment, options: Options) -> Path:
    """Run ``experiment``; the path of the report. All is checked before anything is written.

    Raises:
        ReconfigError: One of its subclasses, for data, networks, folders and checkpoints that cannot be used.
    """
    out = options.out
    folder.check(out, options.resume)
    dataset = unit.load(experiment.data)
    fingerprint = dataset.fingerprint()
    config = folder.config(experiment, fingerprint)
    folder.check_config(out, config)
    plans = {place: unit.plan(network, dataset) for place, network in experiment.networks.items()}
    counts = unit.split(dataset, experiment).counts()

    computer = machine.start(experiment.compute, options.tracker, out)
    console = Console(quiet=not computer.main, width=None if sys.stdout.isatty() else 140, highlight=False)
    check_images(experiment.train, counts, computer.accelerator.num_processes)
    units = unit.units(experiment.networks, experiment, out)
    in_turn = [each for pair in zip(*units.values(), strict=True) for each in pair]  # a seed is done before the next
    if computer.main:
        folder.prepare(out, config, [each.folder for each in in_turn])
    computer.accelerator.wait_for_everyone()
    told = {name: value for name, value in folder.flat(config).items() if name != "data.path"}  # which may change
    places = [each.folder.relative_to(out).as_posix() for each in in_turn]
    curves = trackers.begin(computer.accelerator, out, told, places, options.resume)

    if curves is not None:
        console.print(f"Curves: {curves}", soft_wrap=True)
    console.print(f"{dataset.name}: " + ", ".join(f"{count:,} for {use}" for use, count in counts.items()))
    done = {each: unit.complete(each, dataset, computer, console, options.save_every) for each in in_turn}
    outcomes = {place: [done[each] for each in column] for place, column in units.items()}
    data = {"name": dataset.name, "fingerprint": fingerprint, "classes": dataset.classes} | counts
    apart = report.differences(units.values(), outcomes.values())
    table = report.compare(experiment, outcomes, data, apart)
    if computer.main:
        command = shlex.join(["python", *sys.argv])
        result = report.result(experiment, outcomes, data, apart, command, computer.hardware())
        files.write_text(out / "table.md", table.markdown())
        files.write_text(out / "table.tex", table.latex())
        files.write_json(out / "result.json", result)
        files.write_text(out / "report.html", page.render(experiment, table, plans, units, outcomes, result))
    computer.accelerator.end_training()
    console.print()
    console.print(table.rich())
    console.print(f"\nReport: {out / 'report.html'} (also table.md, table.tex, result.json)", soft_wrap=True)
    return out / "report.html"
