"""One projected-gradient engine: a start, a loss, steps and a projection. FGSM and PGD-k are values for it.

Attacks differentiate with respect to the images alone, with the network in eval mode and its parameters
frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.experiment import Attack, Threat

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [N, classes], labels [N]) -> a scalar that the attacker wants large."""


class Norm(NamedTuple):
    """A ball around each image; offsets have the shape [N, C, H, W]."""

    draw: Callable[[Tensor, float, torch.Generator], Tensor]
    """(images, eps, generator) -> offsets uniform in the ball."""
    ascend: Callable[[Tensor], Tensor]
    """Gradient -> the steepest direction of length 1 in this norm."""
    project: Callable[[Tensor, float], Tensor]
    """(offsets, eps) -> the nearest offsets in the ball."""


def _length(offset: Tensor) -> Tensor:
    return offset.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)


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

FGSM = Attack(steps=1, step=Fraction(1), random_start=False)
"""One step of the full radius from the image itself (Goodfellow et al., 2015)."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy summed over the batch: a mean would make each image's gradient smaller without need."""
    return F.cross_entropy(logits, labels, reduction="sum")


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode, its parameters without gradients; every mode and flag comes back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield model
    finally:
        for module, training in modes:
            module.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def random_start(images: Tensor, threat: Threat, generator: torch.Generator) -> Tensor:
    """Offsets drawn uniformly from the ball of ``threat`` around each image."""
    return NORMS[threat.norm].draw(images, float(threat.eps), generator)


def perturb(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    attack: Attack,
    start: Tensor | None = None,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Adversarial images by projected gradient ascent (Madry et al., 2018; eq. 2 of Huang et al., 2021).

    ``images`` is [N, C, H, W] in [0, 1] and ``start`` the first offset, of the same shape (none: zero).
    Returns the last iterate: within ``threat`` of the images, in [0, 1], detached. ``attack.random_start``
    is for the caller, who has the generator: see ``random_start``.
    """
    norm, eps = NORMS[threat.norm], float(threat.eps)
    size = float(attack.step) * eps
    adversarial = images if start is None else (images + start).clamp(0, 1)
    with frozen(model):
        for _ in range(attack.steps):
            adversarial = adversarial.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(model(adversarial), labels), adversarial)
            offset = norm.project(adversarial.detach() + size * norm.ascend(gradient) - images, eps)
            adversarial = (images + offset).clamp(0, 1)
    return adversarial
