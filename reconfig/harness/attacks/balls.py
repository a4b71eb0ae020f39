"""The balls that attacks stay in: drawing from them, the steepest direction, the way back into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from reconfig.harness.experiment import Threat


class Norm(NamedTuple):
    """A ball around each image; offsets have the shape [N, C, H, W]."""

    draw: Callable[[Tensor, float, torch.Generator], Tensor]
    """(images, eps, generator) -> offsets uniform in the ball."""
    ascend: Callable[[Tensor], Tensor]
    """Gradient -> the steepest direction of length 1 in this norm."""
    project: Callable[[Tensor, float], Tensor]
    """(offsets, eps) -> the nearest offsets in the ball."""


def _length(offset: Tensor) -> Tensor:
    lengths = offset.flatten(1).norm(dim=1)
    return lengths.clamp_min(1e-12).view(-1, 1, 1, 1)  # an offset of zero has no direction


def _draw_linf(images: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    return torch.empty_like(images).uniform_(-eps, eps, generator=generator)


def _draw_l2(images: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    # A uniform direction, at a radius whose d-th power is uniform: so volumes are filled evenly.
    direction = torch.empty_like(images).normal_(generator=generator)
    radius = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
    return eps * radius ** (1 / images[0].numel()) * direction / _length(direction)


NORMS: dict[str, Norm] = {
    "linf": Norm(
        draw=_draw_linf,
        ascend=torch.sign,
        project=lambda offset, eps: offset.clamp(-eps, eps),
    ),
    "l2": Norm(
        draw=_draw_l2,
        ascend=lambda gradient: gradient / _length(gradient),
        project=lambda offset, eps: offset * (eps / _length(offset)).clamp_max(1),
    ),
}


def random_start(images: Tensor, threat: Threat, generator: torch.Generator) -> Tensor:
    """Offsets drawn uniformly from the ball of ``threat`` around each image."""
    return NORMS[threat.norm].draw(images, float(threat.eps), generator)


def corner_start(images: Tensor, threat: Threat, generator: torch.Generator) -> Tensor:
    """Offsets of one length with signs drawn by Bernoulli trials: the corners of the l-inf ball of ``threat``."""
    signs = torch.rand(images.shape, generator=generator, device=images.device).sub_(0.5).sign_()
    eps = float(threat.eps)
    return NORMS[threat.norm].project(eps * signs, eps)
