"""Measures of finished networks, taken later: further attacks, or the same on more images."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from pathlib import Path

from torch import nn

from reconfig.harness import checkpoints, files, verdicts
from reconfig.harness.data.dataset import Split, load_dataset
from reconfig.harness.experiment import Setting
from reconfig.harness.files import CheckpointError, DataError
from reconfig.harness.jobs.outcome import read_outcome
from reconfig.harness.machine import machine
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring.measures import VERDICTS, scores
from reconfig.harness.options import AttackOptions


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
    outcomes = {folder: read_outcome(folder) for folder in wanted}
    for path in found:
        if path.stem not in outcomes[path.parent].epochs:
            raise CheckpointError(f"{path} is none of its run's checkpoints; give best.pt or last.pt")
    config = checkpoints.read_config(found[0])
    setting = checkpoints.read_setting(config)
    dataset = load_dataset(replace(setting.data, path=options.data or setting.data.path))
    if dataset.fingerprint() != config["images"]:
        raise DataError(
            f"{dataset.name} holds other images than {options.path} was trained on; give theirs with --data"
        )

    computer = machine.start(options.compute, None, options.path)
    test = dataset.test[: options.images].to(computer.device)
    setting = replace(setting, evaluate=options.evaluate(setting.evaluate))
    lines = []
    for folder, names in wanted.items():
        of_seed = replace(setting, seed=outcomes[folder].seed)
        for measured in dict.fromkeys(outcomes[folder].measured(name) for name in names):
            model = computer.set_up(checkpoints.load_network(folder / f"{measured}.pt", dataset.classes))
            values = _measure(computer, model, test, of_seed, folder / measured)
            if computer.main:
                _enter(folder, measured, values)
            shown = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
            lines.append(f"{folder / measured}: {shown or 'all asked for is there already, for more images'}")
    return lines + _advice(options.path) if computer.main else []


def _measure(computer: Machine, model: nn.Module, test: Split, setting: Setting, out: Path) -> dict[str, float]:
    """The values of what was asked for, without what is known of more images than these."""
    held = verdicts.read(out / VERDICTS)[0] if (out / VERDICTS).exists() else {}
    asked = tuple(name for name in setting.evaluate.attacks if len(held.get(name, ())) <= len(test))
    if not asked:
        return {}
    found = scores(computer, model, test, replace(setting, evaluate=replace(setting.evaluate, attacks=asked)), out)
    return {name: found[name] for name in asked}


def _enter(folder: Path, measured: str, values: dict[str, float]) -> None:
    """Add ``values`` to the outcome, for each checkpoint that stands for the one measured."""
    outcome = read_outcome(folder)
    scores = {
        name: known | values if outcome.measured(name) == measured else known for name, known in outcome.scores.items()
    }
    files.write_json(folder / "outcome.json", asdict(replace(outcome, scores=scores)))


def _advice(path: Path) -> list[str]:
    """How to bring the run's tables up to date."""
    for folder in (path, *path.absolute().parents):
        if (folder / "result.json").is_file():
            command = shlex.split(files.read_json(folder / "result.json")["command"])
            again = shlex.join([*command, *([] if "--resume" in command else ["--resume"])])
            return [f"To have it in the run's tables: {again}"]
    return []
