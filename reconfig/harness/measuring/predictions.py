"""What a network answers on test images, attacked or not, batch by batch over all processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reconfig.harness.attacks.engine import frozen
from reconfig.harness.attacks.gradient import Adversary
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Setting
from reconfig.harness.machine.machine import Machine
from reconfig.harness.randomness import generator
from reconfig.harness.watching import Watch

SELECTION = "pgd20"
"""The attack that selects the best checkpoint."""


def accuracy(
    machine: Machine, model: nn.Module, split: Split, setting: Setting, adversary: Adversary | None = None
) -> float:
    """Accuracy in % on all of ``split`` under ``adversary`` (None: on the images as they are), in eval mode."""
    right = predictions(machine, model, split, setting, adversary) == split.labels
    return 100 * int(right.sum()) / len(split)


def predictions(
    machine: Machine,
    model: nn.Module,
    split: Split,
    setting: Setting,
    adversary: Adversary | None = None,
    source: nn.Module | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """The class that ``model`` answers for each image of ``split``, [N], in every process.

    The images are attacked by ``adversary``, against ``source`` where that is given, and away from the labels of
    ``split``. Starts depend on the seed, the batch size, the position of the image in the split and the kind of device
    (a GPU draws other numbers than a CPU) alone. ``watch`` hears of each batch.
    """
    answers = torch.zeros_like(split.labels)
    for batch in batches(machine, split, setting, adversary):
        images = batch.images
        if adversary is not None:
            images = adversary.craft(source or model, images, batch.labels, setting.threat, start=batch.start)
        with torch.no_grad(), frozen(model):
            answers[batch.rows] = model(images).argmax(1)
        if watch is not None:
            watch.judged(len(batch.rows), int((answers[batch.rows] == batch.labels).sum()))
    return machine.total(answers)


class Batch(NamedTuple):
    """This process's part of a batch."""

    rows: Tensor
    images: Tensor
    labels: Tensor
    start: Tensor | None


def batches(
    machine: Machine, split: Split, setting: Setting, adversary: Adversary | None, purpose: str = "evaluate"
) -> Iterator[Batch]:
    """This process's part of each batch of ``split``, with the starts of ``adversary`` for it.

    ``purpose`` names the draws: other starts of the same attack have another.
    """
    everything = torch.arange(len(split), device=split.labels.device)
    wholes = everything.split(setting.evaluate.batch)
    for number, (whole, loaded) in enumerate(zip(wholes, split.stream(wholes), strict=True)):
        images, start = machine.floats(loaded.images), None
        if adversary is not None and adversary.start is not None:
            draws = generator(machine.device, purpose, setting.seed, number * setting.evaluate.batch)
            start = adversary.start(images, setting.threat, draws)
        if adversary is not None and adversary.together:
            if machine.main:
                yield Batch(whole, images, split.labels[whole], start)
            continue
        rows = machine.share(whole)
        if len(rows):  # a last batch may be smaller than the number of processes
            own_start = None if start is None else machine.share(start)
            yield Batch(rows, machine.share(images), split.labels[rows], own_start)
