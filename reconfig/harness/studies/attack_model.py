"""A model that was trained elsewhere, looked at and then measured."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from reconfig.harness import files, verdicts
from reconfig.harness.building import build
from reconfig.harness.data.dataset import Dataset, load_dataset
from reconfig.harness.experiment import Data, Setting
from reconfig.harness.files import DataError
from reconfig.harness.jobs.measuring_progress import MeasuringProgress
from reconfig.harness.jobs.note import Note
from reconfig.harness.machine import machine
from reconfig.harness.measuring import soundness
from reconfig.harness.measuring.measures import MEASURES
from reconfig.harness.measuring.scores import computations, scores
from reconfig.harness.network import short
from reconfig.harness.normalised import Normalised
from reconfig.harness.options import ModelOptions
from reconfig.harness.own_weights import load
from reconfig.harness.reports import table as printing
from reconfig.harness.reports.results import versions
from reconfig.harness.reports.table import Table
from reconfig.harness.studies import folder
from reconfig.harness.studies.folder import FolderError

RESULT = "result.json"


def run(options: ModelOptions) -> Path:
    """Check the model that the options name, measure it, and write what was found; the path of the result.

    What AutoAttack has in the folder already is not done again; of another model or setting, it is refused.

    Raises:
        ReconfigError: One of its subclasses, for a model, weights or images that cannot be used; an ``UnsoundError``
            where its figures would mean nothing. No figure is printed then.
    """
    dataset = load_dataset(Data(options.data))
    model = _model(options, dataset)
    setting = Setting(threat=options.threat, evaluate=options.evaluate(), compute=options.compute, seed=options.seed)
    computer = machine.start(options.compute, None, options.out)
    console = printing.console(quiet=not computer.main)
    test = dataset.test[: options.images].to(computer.device)
    model = computer.set_up(model.eval())

    doubts = soundness.check(computer, model, test, dataset.classes, options.threat)
    about = {"weights": verdicts.weights_digest(model), "images": dataset.fingerprint()}
    _prepare(options.out, about, computer.main)
    computer.accelerator.wait_for_everyone()
    name = short(options.network)
    console.print(f"{name} on {len(test):,} test images of {dataset.name}", soft_wrap=True)
    for doubt in doubts:
        console.print(f"note: {doubt}", soft_wrap=True)
    with MeasuringProgress(console, name, Note(options.out, computer.main)) as progress:
        found = scores(computer, model, test, setting, options.out, progress)
    doubts += _after(found)
    computed = computations(computer, setting, found)
    threat = f"{options.threat.norm} eps {options.threat.eps}"
    notes = [f"Accuracy in % on {len(test):,} test images of {dataset.name}; {threat}.", *doubts]
    table = Table(
        ["measure", "value", "computed"],
        [[MEASURES[each].label, f"{value:.2f}", computed[each]] for each, value in found.items()],
        notes,
    )
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "options": asdict(options),
        **about,
        "data": dataset.name,
        "images_measured": len(test),
        "scores": found,
        "computed": computed,
        "notes": doubts,
        "versions": versions(),
        "hardware": computer.hardware(),
    }
    if computer.main:
        files.write_json(options.out / RESULT, result)
        files.write_text(options.out / "table.md", table.markdown())
    console.print(table.rich())
    console.print(f"\nResult: {options.out / RESULT} (also table.md)", soft_wrap=True)
    return options.out / RESULT


def _model(options: ModelOptions, dataset: Dataset) -> nn.Module:
    classes = dataset.classes
    model = (
        build(options.network, classes) if options.weights is None else load(options.network, options.weights, classes)
    )
    if options.mean is None or options.std is None:
        return model
    if isinstance(model, Normalised):
        raise DataError(f"{options.weights} has its normalisation in it; leave out --mean and --std")
    channels = dataset.shape[0]
    if len(options.mean) != channels or len(options.std) != channels:
        raise DataError(
            f"--mean and --std have {len(options.mean)} and {len(options.std)} numbers for {channels} channels"
        )
    return Normalised(model, options.mean, options.std)


def _prepare(out: Path, about: dict[str, str], main: bool) -> None:
    """Make the folder, or see that it is of this model and these images."""
    if out.exists() and not (out / "model.json").exists():
        folder.check(out, resume=False)
    if (out / "model.json").exists():
        before = files.read_json(out / "model.json", "Give another --out")
        wrong = [name for name in about if before.get(name) != about[name]]
        if wrong:
            raise FolderError(f"{out} is of other {' and '.join(wrong)}; nothing was changed. Give another --out")
    if main:
        out.mkdir(parents=True, exist_ok=True)
        files.remove_unfinished(out)
        files.write_json(out / "model.json", about)


def _after(found: dict[str, float]) -> list[str]:
    """What figures say against one another."""
    stronger = [("fgsm", "pgd20"), ("pgd20", "aa"), ("cw", "aa"), ("gama100", "aa")]
    return [
        f"{MEASURES[strong].label} leaves more right than {MEASURES[weak].label} ({found[strong]:.2f} and"
        f" {found[weak]:.2f}): it should be the stronger; gradients may be masked"
        for weak, strong in stronger
        if weak in found and strong in found and found[strong] > found[weak] + 0.5
    ]
