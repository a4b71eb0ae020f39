"""Test images and what the attack makes of them, kept for the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reconfig.harness import files
from reconfig.harness.attacks.balls import random_start
from reconfig.harness.attacks.engine import frozen
from reconfig.harness.attacks.gradient import ATTACKS
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Setting
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring.predictions import SELECTION
from reconfig.harness.randomness import generator

NAME = "examples.safetensors"
_MOST = 10
"""Classes that are shown: as many images as a page is wide."""


@dataclass(frozen=True)
class Examples:
    """Images [N, C, H, W] in [0, 1] before and after PGD-20, their classes [N], and the network's answers [N]."""

    clean: Tensor
    adversarial: Tensor
    labels: Tensor
    clean_answers: Tensor
    adversarial_answers: Tensor


def make(machine: Machine, model: nn.Module, test: Split, setting: Setting) -> Examples:
    """The first test image of each class, for at most ten classes, attacked with PGD-20."""
    split = test[_first_of_each(test.labels)[:_MOST]]
    images = machine.floats(split.images)
    start = random_start(images, setting.threat, generator(machine.device, "examples", setting.seed))
    attacked = ATTACKS[SELECTION].craft(model, images, split.labels, setting.threat, start=start)
    with torch.no_grad(), frozen(model):
        answers = [model(shown).argmax(1) for shown in (images, attacked)]
    return Examples(*(tensor.cpu().contiguous() for tensor in (images, attacked, split.labels, *answers)))


def save(path: Path, examples: Examples) -> None:
    """Write ``examples`` atomically."""
    files.write(path, lambda unfinished: save_file(vars(examples), unfinished))


def load(path: Path) -> Examples:
    """What ``save`` wrote."""
    return Examples(**load_file(path))


def _first_of_each(labels: Tensor) -> Tensor:
    """The row of the first image of each class that occurs, in the order of the classes."""
    classes = labels.unique()
    return torch.stack([(labels == wanted).nonzero()[0, 0] for wanted in classes])
