"""Images as a network takes them: floats in [0, 1], and random crops and flips made where they lie."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def as_floats(images: Tensor) -> Tensor:
    """uint8 images as floats in [0, 1]; the paper's networks take them as they are, without normalisation."""
    return images.float().div_(255)


def augment(images: Tensor, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Each uint8 image [N, C, H, W] padded with black, cropped back at a random offset, mirrored at random."""
    count, channels, height, width = images.shape
    device = images.device
    padded = F.pad(images, (padding,) * 4)
    top, left = torch.randint(0, 2 * padding + 1, (2, count, 1), device=device, generator=generator)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    if flip:
        mirrored = torch.rand(count, 1, device=device, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    image = torch.arange(count, device=device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=device).view(1, -1, 1, 1)
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
