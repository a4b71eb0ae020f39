"""What the items measure: a network small or whole, images, and a short training that makes it worth attacking."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import nn

from benchmarks.train_speed import Timed
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.data.division import hold_out
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Attack, Data, Evaluate, Setting, Train
from reconfig.harness.jobs.network import build_network, plan_network
from reconfig.harness.machine.machine import Machine
from reconfig.harness.network import Network
from reconfig.harness.training.training import Training

SHORT = Setting(
    data=Data(flip=False),
    train=Train(batch=64, lr=0.05, attack=Attack(steps=2, step=Fraction(3, 4))),
    evaluate=Evaluate(batch=250),
)
"""Adversarial training in a moment, on any images."""


def network(dataset: Dataset, gamma: float, name: str = "zoo:vgg11") -> nn.Module:
    """The network called ``name`` at ``gamma`` of its widths, always with the same weights, on the CPU."""
    wanted = Network(name, "10-10-10", gamma) if gamma != 1 else Network(name)
    return build_network(wanted, plan_network(wanted, dataset), dataset.classes, 0)


def train(
    machine: Machine, dataset: Dataset, model: nn.Module, epochs: int, folder: Path, images: int | None = None
) -> nn.Module:
    """``model`` after so many epochs on the first so many images; goes on from what ``folder`` holds."""
    setting = replace(SHORT, train=replace(SHORT.train, epochs=epochs))
    part, selection = hold_out(dataset.train[:images], setting.train.batch, setting.seed)
    folder.mkdir(parents=True, exist_ok=True)
    to = machine.device
    Training(machine, setting, model, part.to(to), selection.to(to), folder, 60.0, Timed()).run()
    return model


def floats(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    """The images as float64 in [0, 1] on the CPU, and their labels."""
    return split.images.double() / 255, split.labels
