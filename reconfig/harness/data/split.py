"""Images with their labels, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reconfig.harness.data.crops import Crops, crop


@dataclass(frozen=True)
class Split:
    """Images [N, C, H, W] as uint8 and their labels [N] as int64, on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor | slice) -> Split:
        return Split(self.images[rows], self.labels[rows])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def stream(self, parts: Iterable[Tensor]) -> Iterator[Split]:
        """The images of each of these rows in turn."""
        return (self[rows] for rows in parts)

    def cropped(self, parts: Iterable[tuple[Tensor, Crops]]) -> Iterator[Split]:
        """The same with a random crop of each image in its place."""
        return (Split(crop(self.images[rows], crops), self.labels[rows]) for rows, crops in parts)

    def labelled(self, labels: Tensor) -> Split:
        """The same images with other labels."""
        return replace(self, labels=labels)

    def joined(self, other: Split) -> Split:
        """The images of both, one after the other."""
        return Split(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]))

    def to(self, device: torch.device) -> Split:
        """The same split on another device."""
        return Split(self.images.to(device), self.labels.to(device))
