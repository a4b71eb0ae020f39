"""The normalisation that an experiment asks for, measured on its training images where they are to say it."""

from __future__ import annotations

import torch

from reconfig.harness.data.dataset import Dataset
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Data
from reconfig.harness.files import DataError
from reconfig.harness.normalised import KNOWN, Moments

_MEASURED = 10_000
"""Images of a larger set that are measured, evenly out of all of it: they give the mean of ImageNet to 0.001."""
_PART = 500
"""Images in memory at once."""


def normalisation(data: Data, dataset: Dataset) -> Moments | None:
    """What ``data`` asks to have in front of the networks, if anything.

    Raises:
        DataError: If it has other channels than the images, or a channel of the images that measure it never changes.
    """
    if data.normalise == "data":
        return _measured(dataset.name, dataset.train)
    moments = KNOWN["imagenet"] if data.normalise == "imagenet" else None
    if data.mean is not None and data.std is not None:
        moments = Moments(data.mean, data.std)
    channels = dataset.shape[0]
    if moments is not None and {len(moments.mean), len(moments.std)} != {channels}:
        raise DataError(
            f"the normalisation has {len(moments.mean)} means and {len(moments.std)} standard deviations, and the"
            f" images of {dataset.name} have {channels} channels: give data.mean and data.std a number a channel"
        )
    return moments


def _measured(name: str, split: Split) -> Moments:
    """By channel, over all pixels; in whole numbers, so that it is the same whatever is in memory at once."""
    count = min(len(split), _MEASURED)
    rows = torch.arange(count, device=split.labels.device) * len(split) // count
    sums, squares = torch.zeros(2, split.shape[0], dtype=torch.int64)
    for part in split.stream(rows.split(_PART)):
        pixels = part.images.cpu().long()
        sums += pixels.sum((0, 2, 3))
        squares += pixels.square().sum((0, 2, 3))
    pixels_each = count * split.shape[1] * split.shape[2]
    found = []
    for channel, (total, square) in enumerate(zip(sums.tolist(), squares.tolist(), strict=True)):
        variance = (square * pixels_each - total**2) / pixels_each**2
        if variance == 0:
            raise DataError(
                f"channel {channel} of the training images of {name} never changes, so that nothing can be divided by"
                " its standard deviation; give data.mean and data.std, or leave data.normalise out"
            )
        found.append((total / pixels_each / 255, variance**0.5 / 255))
    means, stds = zip(*found, strict=True)
    return Moments(means, stds)
