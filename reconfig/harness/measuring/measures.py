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
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Setting
from reconfig.harness.machine.computation import Computation
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring import lipschitz
from reconfig.harness.measuring.lipschitz_bound import lipschitz_bound
from reconfig.harness.measuring.predictions import SELECTION, Batch, batches, predictions
from reconfig.harness.watching import Passes, Watch, counted


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
    watch: Watch | None = None

    def begin(self, name: str, images: int | None = None) -> None:
        """Tell the watch that a part of this measure begins: on all images, if not on so many."""
        if self.watch is not None:
            mine = share(self.machine, len(self.split) if images is None else images)
            self.watch.part(name, mine, mine)


def share(machine: Machine, images: int) -> int:
    """How many of so many images are the main process's."""
    return -(-images // machine.accelerator.num_processes)


class Ahead(NamedTuple):
    """A part of a measure that is to be taken: see ``watching.Part``."""

    name: str
    images: int
    passes: Passes


def as_asked(machine: Machine, setting: Setting) -> Computation:
    """As the machine computes."""
    return machine.computation()


def exactly(machine: Machine, setting: Setting) -> Computation:
    """In float32 by its own forward: modules of a compiled network cannot be watched, differences need every digit."""
    return replace(machine.computation("fp32"), compiled=False, form="plain")


@dataclass(frozen=True)
class Measure:
    """One figure for a network."""

    label: str
    """Its name in tables."""
    unit: str
    """% or nothing."""
    compute: Callable[[Subject], Finding]
    ahead: Callable[[Subject], list[Ahead]]
    """What has to be done, for all processes together."""
    computation: Callable[[Machine, Setting], Computation] = as_asked
    """How the network computes while it is measured."""


def _percentage(verdicts: Tensor) -> Finding:
    return Finding(100 * int(verdicts.sum()) / len(verdicts), verdicts)


def _under(label: str, adversary: Adversary | None = None) -> Measure:
    """The accuracy under an attack, or on the images as they are."""

    def compute(subject: Subject) -> Finding:
        subject.begin(label)
        machine, model, split, setting = subject.machine, subject.model, subject.split, subject.setting
        return _percentage(predictions(machine, model, split, setting, adversary, watch=subject.watch) == split.labels)

    attack = Passes() if adversary is None else adversary.passes
    return Measure(label, "%", compute, _on_all(label, Passes(attack.gradients, attack.runs + 1)))


def _on_all(label: str, passes: Passes) -> Callable[[Subject], list[Ahead]]:
    return lambda subject: [Ahead(label, len(subject.split), passes)]


def _autoattack(name: str, label: str, attacks: tuple[str, ...]) -> Measure:
    """The accuracy under the attacks of AutoAttack, on as many images as the setting gives it."""

    def compute(subject: Subject) -> Finding:
        machine, part = subject.machine, subject.split[: subject.setting.evaluate.aa_images]
        return _percentage(
            autoattack.attack(machine, subject.model, part, subject.setting, attacks, subject.out / name, subject.watch)
        )

    def ahead(subject: Subject) -> list[Ahead]:
        images = len(subject.split[: subject.setting.evaluate.aa_images])
        classes = autoattack.check_classes(subject.machine, subject.model, subject.split)
        return [
            Ahead(autoattack.part_name(attacks, each), images, autoattack.passes(each, classes)) for each in attacks
        ]

    return Measure(label, "%", compute, ahead, autoattack.computation)


def _transfer(subject: Subject) -> Finding:
    """The accuracy on images that PGD-20 made against another network: a black-box attack (the paper's appendix D)."""
    machine, model, split = subject.machine, subject.model, subject.split
    path = Path(cast(str, subject.setting.evaluate.source))  # which Evaluate insists on
    example = machine.floats(split[:2].images)
    with torch.no_grad(), frozen(model):
        classes = model(example).shape[1]
    source = machine.set_up(checkpoints.load_network(path, classes))
    source = machine.computing(source, subject.computation, example)
    subject.begin("transfer")
    with counted(source, subject.watch):
        answers = predictions(machine, model, split, subject.setting, ATTACKS[SELECTION], source, subject.watch)
    return _percentage(answers == split.labels)


def _stability(label: str, from_label: bool) -> Measure:
    """The part of images whose prediction PGD-20 does not change, right or wrong (section 4.5).

    The paper's definition asks whether the prediction changes, so the attack leads away from it and can change a wrong
    one too. Its published code attacks away from the label, which leaves wrong predictions mostly as they are.
    """

    def compute(subject: Subject) -> Finding:
        machine, model, setting, split = subject.machine, subject.model, subject.setting, subject.split
        subject.begin(label)
        clean = predictions(machine, model, split, setting)
        attacked = split if from_label else split.labelled(clean)
        answers = predictions(machine, model, attacked, setting, ATTACKS[SELECTION], watch=subject.watch)
        return _percentage(answers == clean)

    return Measure(label, "%", compute, _on_all(label, Passes(PGD20.steps, 2)))


def _lipschitz(subject: Subject) -> Finding:
    """The empirical Lipschitz constant of the network (eq. 3), with x' from PGD-20 as the paper has it.

    ``lipschitz.json`` has it for every block too, the same with x' that climbs the quotient's numerator (on one batch,
    for it is an attack for each block), and the logarithms of Theorem 2's upper bound.
    """
    machine, model, split, setting = subject.machine, subject.model, subject.split, subject.setting
    example = machine.floats(split[:1].images)
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
    subject.begin("Lipschitz")
    empirical = mean(split, attacked, "evaluate")
    subject.begin("Lipschitz: steepest", len(first))
    steepest = mean(first, maximised, "steepest")
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


def _lipschitz_ahead(subject: Subject) -> list[Ahead]:
    stages = reconfig.stages(subject.model, subject.machine.floats(subject.split[:1].images))
    blocks = len(lipschitz.functions(stages, subject.model))
    first = len(subject.split[: subject.setting.evaluate.batch])
    return [
        Ahead("Lipschitz", len(subject.split), Passes(PGD20.steps, 2)),
        Ahead("Lipschitz: steepest", first, Passes(PGD20.steps * blocks, 3 * blocks)),
    ]


MEASURES: dict[str, Measure] = {
    "clean": _under("clean"),
    "fgsm": _under("FGSM", ATTACKS["fgsm"]),
    "fgsm-random": _under("FGSM (random start)", ATTACKS["fgsm-random"]),
    "pgd20": _under("PGD-20", ATTACKS["pgd20"]),
    "cw": _under("CW", ATTACKS["cw"]),
    "cw-batch": _under("CW (batch sum)", ATTACKS["cw-batch"]),
    "gama100": _under("GAMA-100", ATTACKS["gama100"]),
    "aa": _autoattack("aa", "AutoAttack", autoattack.STANDARD),
    "preview": _autoattack("preview", "APGD (not AutoAttack)", autoattack.PREVIEW),
    "transfer": Measure("transfer", "%", _transfer, _on_all("transfer", Passes(PGD20.steps, 1))),
    "stability": _stability("stability", from_label=False),
    "stability-label": _stability("stability (from label)", from_label=True),
    "lipschitz": Measure("Lipschitz", "", _lipschitz, _lipschitz_ahead, exactly),
}
"""Every measure by the name that recipes, scores and files use."""
