"""Measures of finished networks, taken later: further attacks, or the same on more images."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from reconfig.harness import checkpoints, files
from reconfig.harness.files import CheckpointError
from reconfig.harness.jobs.further import measure_further
from reconfig.harness.jobs.measuring_progress import MeasuringProgress
from reconfig.harness.jobs.note import Note
from reconfig.harness.jobs.outcome import read_outcome
from reconfig.harness.machine import machine
from reconfig.harness.measuring.scores import computations, read_verdicts
from reconfig.harness.options import AttackOptions
from reconfig.harness.reports import table as printing
from reconfig.harness.studies import folder


def run(options: AttackOptions) -> list[str]:
    """Measure what the options ask for and enter it in the outcomes; what to tell the user.

    Raises:
        ReconfigError: One of its subclasses, for a run that is not finished, images other than the run's, or an
            attack that cannot be made.
    """
    found = checkpoints.find(options.path)
    runs = sorted({checkpoints.run_of(path) for path in found})
    if len(runs) > 1:
        raise CheckpointError(f"{options.path} holds {len(runs)} runs; give one, such as {runs[0]}")
    wanted: dict[Path, list[str]] = {}
    for path in found:
        wanted.setdefault(path.parent, []).append(path.stem)
    outcomes = {network: read_outcome(network) for network in wanted}
    for path in found:
        if path.stem not in outcomes[path.parent].epochs:
            raise CheckpointError(f"{path} is none of its run's checkpoints; give best.pt or last.pt")
    setting, dataset = folder.reopen(found[0], options.data)
    computer = machine.start(options.compute, None, options.path)
    console = printing.console(quiet=not computer.main)
    test = dataset.test[: options.images].to(computer.device)
    setting = replace(setting, evaluate=options.evaluate(setting.evaluate))
    computed = computations(computer, setting, setting.evaluate.attacks)
    lines = []
    for network, names in wanted.items():
        computer.begin_network()
        of_seed = replace(setting, seed=outcomes[network].seed)
        for measured in dict.fromkeys(outcomes[network].measured(name) for name in names):
            held = read_verdicts(network / measured)
            asked = [name for name in setting.evaluate.attacks if held.count(name, computed[name]) <= len(test)]
            values = {}
            if asked:
                console.print(f"{network / measured}  measuring {', '.join(asked)}", soft_wrap=True)
                with MeasuringProgress(console, measured, Note(network, computer.main)) as progress:
                    values = measure_further(
                        computer, network, measured, dataset.classes, test, of_seed, asked, progress
                    )
            shown = ", ".join(f"{name} {value:.2f} ({computed[name]})" for name, value in values.items())
            lines.append(f"{network / measured}: {shown or 'all asked for is there already, for more images'}")
    return lines + _advice(options.path) if computer.main else []


def _advice(path: Path) -> list[str]:
    """How to bring the run's tables up to date."""
    for above in (path, *path.absolute().parents):
        if (above / "result.json").is_file():
            command = shlex.split(files.read_json(above / "result.json")["command"])
            again = shlex.join([*command, *([] if "--resume" in command else ["--resume"])])
            return [f"To have it in the run's tables: {again}"]
    return []
