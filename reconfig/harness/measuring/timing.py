"""How long a network takes, from a timed batch."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from reconfig.harness.attacks.engine import frozen
from reconfig.harness.attacks.losses import cross_entropy
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Setting
from reconfig.harness.machine.machine import Machine
from reconfig.harness.watching import Rates

ENOUGH = 0.1
"""Seconds that a batch has to take to be timed."""
FIRST = 8
"""Images of the first batch that is tried."""
_TRIES = 3
"""How often it is timed; the quickest counts, since what else the machine does can only add to it."""


def timed(machine: Machine, model: nn.Module, split: Split, setting: Setting) -> Rates:
    """The seconds that ``model`` takes for an image: with the image's gradient, and forward alone.

    By a batch that takes long enough to be timed, or one as large as those that are measured. What is compiled is run
    on the latter alone, as it would be compiled for every size.
    """
    most = min(len(split), setting.evaluate.batch)
    compiled = machine.compute.compile
    count = most if compiled else min(FIRST, most)
    while True:
        part = split[:count]
        images, labels = machine.floats(part.images), part.labels
        with frozen(model):
            gradient = seconds(machine, lambda: _gradient(model, images, labels)) / count  # noqa: B023
            run = seconds(machine, lambda: _run(model, images)) / count  # noqa: B023
        if count == most or gradient * count >= ENOUGH:
            return Rates(gradient, run)
        count = min(4 * count, most)


def seconds(machine: Machine, work: Callable[[], object]) -> float:
    """The seconds that ``work`` takes, but for what it does the first time alone."""
    work()
    taken = []
    for _ in range(_TRIES):
        _wait(machine)
        began = time.perf_counter()
        work()
        _wait(machine)
        taken.append(time.perf_counter() - began)
    return min(taken)


def _wait(machine: Machine) -> None:
    if machine.device.type == "cuda":
        torch.cuda.synchronize(machine.device)


def _gradient(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    images = images.detach().requires_grad_()
    torch.autograd.grad(cross_entropy(model(images), labels), images)


def _run(model: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        model(images)
