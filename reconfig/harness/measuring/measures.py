"""The table of measures: what can be measured of a network on test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

import reconfig
from reconfig.harness import checkpoints, files
from reconfig.harness.attacks import autoattack
from reconfig.harness.attacks.engine import frozen
from reconfig.harness.attacks.gradient import ATTACKS, PGD20, Adversary
from reconfig.harness.data.dataset import Split
from reconfig.harness.experiment import Setting
from reconfig.harness.machine.computation import Computation
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring import lipschitz
from reconfig.harness.measuring.lipschitz_bound import lipschitz_bound
from reconfig.harness.measuring.predictions import SELECTION, Batch, batches, predictions


class Finding(NamedTuple):
    """What a measure found."""

    value: float
    verdicts: Tensor | None = None
    """bool [N], where the value is the part of the images that are true: still right under an attack."""


@dataclass(frozen=True)
class Subject:
    """A network to be measured on images, and the folder for what else is found."""

    machine: Machine
    computation: Computation
    model: nn.Module
    """The network as it computes by ``computation``."""
    split: Split
    setting: Setting
    out: Path


def as_asked(machine: Machine, setting: Setting) -> Computation:
    """As the machine computes."""
    return machine.computation()


def exactly(machine: Machine, setting: Setting) -> Computation:
    """In float32 and uncompiled: modules of a compiled network cannot be watched, and differences need every digit."""
    return replace(machine.computation("fp32"), compiled=False)


@dataclass(frozen=True)
class Measure:
    """One figure for a network."""

    label: str
    """Its name in tables."""
    unit: str
    """% or nothing."""
    compute: Callable[[Subject], Finding]
    computation: Callable[[Machine, Setting], Computation] = as_asked
    """How the network computes while it is measured."""


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
    source = machine.computing(machine.set_up(checkpoints.load_network(path, classes)), subject.computation)
    answers = predictions(machine, model, split, subject.setting, ATTACKS[SELECTION], source)
    return _percentage(answers == split.labels)


def _stability(from_label: bool) -> Callable[[Subject], Finding]:
    """The part of images whose prediction PGD-20 does not change, right or wrong (section 4.5).

    The paper's definition asks whether the prediction changes, so the attack leads away from it and can change a wrong
    one too. Its published code attacks away from the label, which leaves wrong predictions mostly as they are.
    """

    def compute(subject: Subject) -> Finding:
        machine, model, setting, split = subject.machine, subject.model, subject.setting, subject.split
        clean = predictions(machine, model, split, setting)
        attacked = split if from_label else Split(split.images, clean)
        return _percentage(predictions(machine, model, attacked, setting, ATTACKS[SELECTION]) == clean)

    return compute


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
        start = cast(Tensor, batch.start)  # PGD-20 has one
        steep = {name: lipschitz.steepest(model, name, batch.images, setting.threat, PGD20, start) for name in names}
        return {name: lipschitz.rates(model, [name], batch.images, steep[name])[name] for name in names}

    def mean(part: Split, rates: Callable[[Batch], dict[str, Tensor]], purpose: str) -> dict[str, float]:
        sums = torch.zeros(len(names), device=machine.device)
        for batch in batches(machine, part, setting, adversary, purpose):
            found = rates(batch)
            sums += torch.stack([found[name].sum() for name in names])
        return dict(zip(names, (machine.total(sums) / len(part)).tolist(), strict=True))

    first = split[: setting.evaluate.batch]
    empirical, steepest = mean(split, attacked, "evaluate"), mean(first, maximised, "steepest")
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
    "fgsm-random": Measure("FGSM (random start)", "%", _under(ATTACKS["fgsm-random"])),
    "pgd20": Measure("PGD-20", "%", _under(ATTACKS["pgd20"])),
    "cw": Measure("CW", "%", _under(ATTACKS["cw"])),
    "cw-batch": Measure("CW (batch sum)", "%", _under(ATTACKS["cw-batch"])),
    "gama100": Measure("GAMA-100", "%", _under(ATTACKS["gama100"])),
    "aa": Measure("AutoAttack", "%", _autoattack("aa", autoattack.STANDARD), autoattack.computation),
    "preview": Measure(
        "APGD (not AutoAttack)", "%", _autoattack("preview", autoattack.PREVIEW), autoattack.computation
    ),
    "transfer": Measure("transfer", "%", _transfer),
    "stability": Measure("stability", "%", _stability(from_label=False)),
    "stability-label": Measure("stability (from label)", "%", _stability(from_label=True)),
    "lipschitz": Measure("Lipschitz", "", _lipschitz, exactly),
}
"""Every measure by the name that recipes, scores and files use."""
