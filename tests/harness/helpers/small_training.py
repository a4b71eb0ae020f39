"""A training so small that a test can run it many times: for the tests of the harness."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Attack, Compute, Data, Evaluate, Experiment, Train
from reconfig.harness.machine import machine
from reconfig.harness.machine.machine import Machine
from reconfig.harness.network import Network
from reconfig.harness.training.training import Training

EXPERIMENT = Experiment(
    original=Network("zoo:vgg11"),
    variant=Network("zoo:vgg11", "10-10-4"),
    data=Data(crop_padding=1),
    train=Train(epochs=3, batch=8, lr=0.1, attack=Attack(steps=2, step=Fraction(1, 2))),
    evaluate=Evaluate(batch=10),
)
STEPS = 4


class Quiet:
    """Watches and says nothing."""

    def say(self, line: str) -> None:
        pass

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        pass

    def epoch(self, row: dict[str, object], steps: int) -> None:
        pass


def small_machine(folder: Path, compute: Compute | None = None, tracker: str | None = None) -> Machine:
    """A machine of one CPU process; what an earlier test asked accelerate for is forgotten."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return machine.start(compute or Compute(device="cpu"), tracker, folder)


def small_network() -> nn.Module:
    """Always the same weights, with everything that keeps a state or draws numbers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def small_split(count: int, seed: int = 0) -> Split:
    """Images of three classes that a network can tell apart."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    noise = torch.randint(0, 160, (count, 3, 8, 8), generator=draws)
    colour = nn.functional.one_hot(labels, 3).view(count, 3, 1, 1) * 95
    return Split((noise + colour).to(torch.uint8), labels)


def small_training(
    folder: Path,
    experiment: Experiment = EXPERIMENT,
    model: nn.Module | None = None,
    save_every: float = 0,
    watcher: Quiet | None = None,
    compute: Compute | None = None,
    extra: Split | None = None,
) -> Training:
    """A training of 3 epochs of 4 steps that saves after each step unless told otherwise."""
    return Training(
        small_machine(folder, compute),
        experiment,
        model or small_network(),
        small_split(STEPS * 8 + 3),
        small_split(20, seed=1),
        folder,
        save_every,
        watcher or Quiet(),
        extra,
    )
