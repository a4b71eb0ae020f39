"""Which images do what: train, select the best checkpoint, test."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reconfig.harness.data.dataset import Dataset
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Setting
from reconfig.harness.files import DataError
from reconfig.harness.randomness import generator


@dataclass(frozen=True)
class Division:
    """The images of a data set by their use."""

    train: Split
    selection: Split
    test: Split
    extra: Split | None = None
    """More training images, of which every batch takes a part."""

    def to(self, device: torch.device) -> Division:
        """The same images on another device."""
        extra = None if self.extra is None else self.extra.to(device)
        return Division(self.train.to(device), self.selection.to(device), self.test.to(device), extra)

    def counts(self) -> dict[str, int]:
        """How many there are for each use."""
        held = {"train": self.train, "extra": self.extra, "selection": self.selection, "test": self.test}
        return {use: len(split) for use, split in held.items() if split is not None}


def divide(dataset: Dataset, setting: Setting) -> Division:
    """The images of ``dataset`` as ``setting`` and its seed divide them.

    Raises:
        DataError: If holding some out leaves none to train on.
    """
    if setting.evaluate.select == "test":
        return Division(dataset.train, dataset.test, dataset.test, dataset.extra)
    return Division(*hold_out(dataset.train, setting.data.hold_out, setting.seed), dataset.test, dataset.extra)


def hold_out(split: Split, size: int, seed: int) -> tuple[Split, Split]:
    """``split`` without ``size`` images drawn at random, and those images.

    Raises:
        DataError: If nothing would be left.
    """
    if size >= len(split):
        raise DataError(f"data.hold_out is {size}, but there are only {len(split)} training images")
    order = torch.randperm(len(split), generator=generator("cpu", "hold out", seed)).to(split.labels.device)
    return split[order[size:]], split[order[:size]]
