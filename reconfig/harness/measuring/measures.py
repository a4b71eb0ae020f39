"""The table of measures: what can be measured of a network on test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

import reconfig
from reconfig.harness import checkpoints, files, verdicts
from reconfig.harness.attacks import autoattack
from reconfig.harness.attacks.balls import random_start
from reconfig.harness.attacks.engine import frozen
from reconfig.harness.attacks.gradient import ATTACKS, PGD20, Adversary
from reconfig.harness.data.dataset import Split
from reconfig.harness.experiment import Setting
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring import lipschitz
from reconfig.harness.measuring.lipschitz_bound import lipschitz_bound
from reconfig.harness.measuring.predictions import SELECTION, Batch, batches, predictions
from reconfig.harness.randomness import generator

VERDICTS = "verdicts.safetensors"
"""The file of verdicts in the folder of a checkpoint."""


class Finding(NamedTuple):
    """What a measure found."""

    value: float
    verdicts: Tensor | None = None
    """bool [N], where the value is the part of the images that are true: still right under an attack."""


@dataclass(frozen=True)
class Subject:
    """A network to be measured on images, and the folder for what else is found."""

    machine: Machine
    model: nn.Module
    split: Split
    setting: Setting
    out: Path


@dataclass(frozen=True)
class Measure:
    """One figure for a network."""

    label: str
    """Its name in tables."""
    unit: str
    """% or nothing."""
    compute: Callable[[Subject], Finding]


def _percentage(verdicts: Tensor) -> Finding:
    return Finding(100 * int(verdicts.sum()) / len(verdicts), verdicts)


def _under(adversary: Adversary | None) -> Callable[[Subject], Finding]:
    """The accuracy under an attack."""

    def compute(subject: Subject) -> Finding:
        answers = predictions(subject.machine, subject.model, subject.split, subject.setting, adversary)
        return _percentage(answers == subject.split.labels)

    return compute


def _autoattack(name: str, attacks: tuple[str, ...]) -> Callable[[Subject], Finding]:
    """The accuracy under the attacks of AutoAttack, on as many images as the setting gives it."""

    def compute(subject: Subject) -> Finding:
        part = subject.split[: subject.setting.evaluate.aa_images]
        return _percentage(
            autoattack.attack(subject.machine, subject.model, part, subject.setting, attacks, subject.out / name)
        )

    return compute


def _transfer(subject: Subject) -> Finding:
    """The accuracy on images that PGD-20 made against another network: a black-box attack (the paper's appendix D)."""
    machine, model, split = subject.machine, subject.model, subject.split
    path = Path(cast(str, subject.setting.evaluate.source))  # which Evaluate insists on
    with torch.no_grad(), frozen(model):
        classes = model(machine.floats(split.images[:2])).shape[1]
    source = machine.set_up(checkpoints.load_network(path, classes))
    answers = predictions(machine, model, split, subject.setting, ATTACKS[SELECTION], source)
    return _percentage(answers == split.labels)


def _stability(subject: Subject) -> Finding:
    """The part of images whose prediction PGD-20 does not change, right or wrong (section 4.5).

    The attack leads away from the prediction, so that it can change a wrong one too.
    """
    machine, model, setting = subject.machine, subject.model, subject.setting
    clean = predictions(machine, model, subject.split, setting)
    predicted = Split(subject.split.images, clean)
    return _percentage(predictions(machine, model, predicted, setting, ATTACKS[SELECTION]) == clean)


def _lipschitz(subject: Subject) -> Finding:
    """The empirical Lipschitz constant of the network (eq. 3), with x' from PGD-20 as the paper has it.

    ``lipschitz.json`` has it for every block too, the same with x' that climbs the quotient's numerator (on one batch,
    for it is an attack for each block), and the logarithms of Theorem 2's upper bound.
    """
    machine, model, split, setting = subject.machine, subject.model, subject.split, subject.setting
    example = machine.floats(split.images[:1])
    stages = reconfig.stages(model, example)
    names = lipschitz.functions(stages, model)
    adversary = ATTACKS[SELECTION]

    def attacked(batch: Batch) -> dict[str, Tensor]:
        adversarial = adversary.craft(model, batch.images, batch.labels, setting.threat, start=batch.start)
        return lipschitz.rates(model, names, batch.images, adversarial)

    def maximised(batch: Batch) -> dict[str, Tensor]:
        start = random_start(batch.images, setting.threat, generator(machine.device, "steepest", setting.seed))
        steep = {name: lipschitz.steepest(model, name, batch.images, setting.threat, PGD20, start) for name in names}
        return {name: lipschitz.rates(model, [name], batch.images, steep[name])[name] for name in names}

    def mean(part: Split, rates: Callable[[Batch], dict[str, Tensor]]) -> dict[str, float]:
        sums = torch.zeros(len(names), device=machine.device)
        for batch in batches(machine, part, setting, adversary):
            found = rates(batch)
            sums += torch.stack([found[name].sum() for name in names])
        return dict(zip(names, (machine.total(sums) / len(part)).tolist(), strict=True))

    first = split[: setting.evaluate.batch]
    empirical, steepest = mean(split, attacked), mean(first, maximised)
    network, highest = empirical.pop(lipschitz.NETWORK), steepest.pop(lipschitz.NETWORK)
    if machine.main:
        bound = lipschitz_bound(model, example, stages)
        subject.out.mkdir(parents=True, exist_ok=True)
        files.write_json(
            subject.out / "lipschitz.json",
            {
                "images": len(split),
                "network": network,
                "blocks": empirical,
                "maximised": {"images": len(first), "network": highest, "blocks": steepest},
                "theorem2_log": {
                    "network": bound.network,
                    "stages": bound.stages,
                    "layers": {layer.path: layer.log for layer in bound.layers},
                },
            },
        )
    return Finding(network)


MEASURES: dict[str, Measure] = {
    "clean": Measure("clean", "%", _under(None)),
    "fgsm": Measure("FGSM", "%", _under(ATTACKS["fgsm"])),
    "pgd20": Measure("PGD-20", "%", _under(ATTACKS["pgd20"])),
    "cw": Measure("CW", "%", _under(ATTACKS["cw"])),
    "gama100": Measure("GAMA-100", "%", _under(ATTACKS["gama100"])),
    "aa": Measure("AutoAttack", "%", _autoattack("aa", autoattack.STANDARD)),
    "preview": Measure("APGD (not AutoAttack)", "%", _autoattack("preview", autoattack.PREVIEW)),
    "transfer": Measure("transfer", "%", _transfer),
    "stability": Measure("stability", "%", _stability),
    "lipschitz": Measure("Lipschitz", "", _lipschitz),
}
"""Every measure by the name that recipes, scores and files use."""


def scores(machine: Machine, model: nn.Module, split: Split, setting: Setting, out: Path) -> dict[str, float]:
    """The clean accuracy and all that the setting asks for, by the names in ``MEASURES``.

    Leaves in ``out``: ``verdicts.safetensors`` (for each measure that judges images, whether the network is still
    right on each, bool [N]), the shards of AutoAttack, and ``lipschitz.json``. The verdicts of other measures that the
    file holds already stay, if they are of the same weights and threat, and so do those of more images.

    Raises:
        ReconfigError: One of its subclasses, where a measure cannot be taken.
    """
    about = {"weights": verdicts.weights_digest(model), "threat": f"{setting.threat.norm} {setting.threat.eps}"}
    held, of_held = verdicts.read(out / VERDICTS) if (out / VERDICTS).exists() else ({}, about)
    subject = Subject(machine, model, split, setting, out)
    found = {name: MEASURES[name].compute(subject) for name in ("clean", *setting.evaluate.attacks)}
    if machine.main:
        out.mkdir(parents=True, exist_ok=True)
        kept = held if of_held == about else {}
        new = {name: measured.verdicts for name, measured in found.items() if measured.verdicts is not None}
        more = {name: judged for name, judged in new.items() if len(judged) >= len(kept.get(name, ()))}
        verdicts.write(out / VERDICTS, kept | more, about)
    machine.accelerator.wait_for_everyone()
    return {name: measured.value for name, measured in found.items()}
