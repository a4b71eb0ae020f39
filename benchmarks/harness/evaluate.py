"""Accuracy of a network on clean and on attacked images."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import nn

from benchmarks.harness.attacks import FGSM, frozen, perturb, random_start
from benchmarks.harness.data import Split
from benchmarks.harness.machine import Machine
from benchmarks.harness.randomness import generator
from recipes.experiment import Attack, Experiment

SELECTION = "pgd20"
ATTACKS: dict[str, Attack] = {
    "fgsm": FGSM,
    "pgd20": Attack(steps=20, step=Fraction(1, 10)),
}
"""The attacks of the paper's section 5 by the name that recipes and tables use."""


def accuracy(
    machine: Machine, model: nn.Module, split: Split, experiment: Experiment, attack: Attack | None = None
) -> float:
    """Accuracy in % on all of ``split`` under ``attack`` (None: on the images as they are), in eval mode.

    The random start of the attack depends on the experiment's seed and the image's place in the split alone.
    """
    correct = torch.zeros((), device=machine.device, dtype=torch.int64)
    for first in range(0, len(split), experiment.evaluate.batch):
        batch = split[first : first + experiment.evaluate.batch]
        images = machine.floats(batch.images)
        labels = machine.share(batch.labels)
        if attack is not None and attack.random_start:
            draws = generator(machine.device, "evaluate", experiment.seed, first)
            start = machine.share(random_start(images, experiment.threat, draws))
        else:
            start = None
        images = machine.share(images)
        if attack is not None:
            images = perturb(model, images, labels, experiment.threat, attack, start)
        with torch.no_grad(), frozen(model):
            correct += (model(images).argmax(1) == labels).sum()
    return 100 * machine.total(correct).item() / len(split)


def scores(machine: Machine, model: nn.Module, split: Split, experiment: Experiment) -> dict[str, float]:
    """The clean accuracy and that under each attack of the experiment, in %."""
    named = {"clean": None} | {name: ATTACKS[name] for name in experiment.evaluate.attacks}
    return {name: accuracy(machine, model, split, experiment, attack) for name, attack in named.items()}
