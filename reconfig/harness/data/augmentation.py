"""Images as a network takes them: floats in [0, 1], and random crops, flips and rotations made where they lie."""

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


def rotate(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Each uint8 image [N, C, H, W] turned about its middle by up to ``degrees`` either way, black where none was.

    The nearest pixel is taken, as torchvision's RandomRotation does.
    """
    count, _, height, width = images.shape
    angles = torch.empty(count, device=images.device).uniform_(-degrees, degrees, generator=generator).deg2rad()
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # Where an output pixel comes from, in the units of affine_grid: half a height and half a width.
    rows = [torch.stack([cos, -sin * height / width, zero], 1), torch.stack([sin * width / height, cos, zero], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, mode="nearest", align_corners=False).to(torch.uint8)
