"""Random resized crops: a part of an image, of any shape within limits, brought to the size of all (Szegedy et al.,
CVPR 2015, section 6), drawn as torchvision's RandomResizedCrop draws them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

RATIO = (3 / 4, 4 / 3)
"""A crop's width over its height, at least and at most."""
_TRIES = 10
"""After which the middle is taken, where none of the crops drawn lies inside the image."""


class Box(NamedTuple):
    """A part of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int


class Crops(NamedTuple):
    """The crops of a batch, before it is known how large its images are."""

    draws: Tensor
    """Numbers from 0 to 1, [N, 22]: an area and a shape for each try, and a place."""
    area: tuple[float, float]
    """A crop's part of its image's area, at least and at most."""

    def box(self, row: int, width: int, height: int) -> Box:
        """The crop of the image ``row`` of the batch, which has this size."""
        numbers = self.draws[row].tolist()
        low, high = map(math.log, RATIO)
        for part, shape in zip(numbers[:_TRIES], numbers[_TRIES:-2], strict=True):
            area = width * height * (self.area[0] + part * (self.area[1] - self.area[0]))
            ratio = math.exp(low + shape * (high - low))
            wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < tall <= height:
                return Box(int(numbers[-2] * (width - wide + 1)), int(numbers[-1] * (height - tall + 1)), wide, tall)
        wide, tall = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
        return Box((width - wide) // 2, (height - tall) // 2, wide, tall)


def draw(count: int, area: tuple[float, float], generator: torch.Generator) -> Crops:
    """The crops of ``count`` images, by a generator of the CPU."""
    return Crops(torch.rand(count, 2 * _TRIES + 2, dtype=torch.float64, generator=generator), area)


def crop(images: Tensor, crops: Crops) -> Tensor:
    """The crop of each uint8 image [N, C, H, W], enlarged to all of its size, where the images lie: bilinear."""
    count, _, height, width = images.shape
    boxes = torch.tensor([crops.box(row, width, height) for row in range(count)], dtype=torch.float32)
    left, top, wide, tall = boxes.to(images.device).T[..., None]
    columns, rows = _places(left, wide, width), _places(top, tall, height)
    grid = torch.stack(torch.broadcast_tensors(columns[:, None], rows[:, :, None]), -1)
    return F.grid_sample(images.float(), grid, align_corners=False).round().to(torch.uint8)


def _places(begin: Tensor, length: Tensor, size: int) -> Tensor:
    """Where each of ``size`` pixels [N, size] comes from, within a part that begins there; -1 to 1 is the whole."""
    middles = (torch.arange(size, device=begin.device) + 0.5) * length / size - 0.5
    return (2 * (begin + middles.clamp_min(0).minimum(length - 1)) + 1) / size - 1
