"""One projected-gradient engine: a start, steps each of a size and a loss, and a projection.

FGSM, PGD-k, CW-inf and GAMA are values for it: see ``ATTACKS``. A loss that compares with something else, such as
the clean prediction, is a function that was given it (``functools.partial``).

Attacks differentiate with respect to the images alone, with the network in eval mode and its parameters
frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reconfig.harness.experiment import Attack, Threat

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


class Step(NamedTuple):
    """One step of an ascent."""

    size: float
    """In units of eps."""
    loss: Loss


@dataclass(frozen=True)
class Adversary:
    """An attack that needs to know nothing more than the network, the images and the ball."""

    craft: Callable[..., Tensor]
    """craft(model, images, labels, threat, start=offsets) -> adversarial images."""
    start: Callable[[Tensor, Threat, torch.Generator], Tensor] | None = None
    """(images, threat, generator) -> the first offsets; None begins at the images themselves."""


FGSM = Attack(steps=1, step=Fraction(1), random_start=False)
"""One step of the full radius from the image itself (Goodfellow et al., 2015)."""
PGD20 = Attack(steps=20, step=Fraction(1, 10))
"""The evaluation of Huang et al. (2021, section 4)."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy summed over the batch: a mean would make each image's gradient smaller without need."""
    return F.cross_entropy(logits, labels, reduction="sum")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """By how much the largest wrong logit exceeds the right one, summed over the batch.

    The objective f6 of Carlini and Wagner (2017, section V) without its floor: what CW-inf climbs.
    """
    right = F.one_hot(labels, logits.shape[1]).bool()
    return (logits.masked_fill(right, -torch.inf).amax(1) - logits[right]).sum()


def guided_margin(logits: Tensor, labels: Tensor, clean: Tensor, weight: float) -> Tensor:
    """The loss of GAMA (Sriramanan et al., 2020): the margin of the probabilities, and their way from ``clean``.

    ``clean`` [N, classes] are the probabilities of the unperturbed images; ``weight`` is the paper's lambda.
    """
    probabilities = logits.softmax(1)
    return margin(probabilities, labels) + weight * (probabilities - clean).square().sum()


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


def corner_start(images: Tensor, threat: Threat, generator: torch.Generator) -> Tensor:
    """Offsets of one length with signs drawn by Bernoulli trials: the corners of the l-inf ball of ``threat``."""
    signs = torch.rand(images.shape, generator=generator, device=images.device).sub_(0.5).sign_()
    eps = float(threat.eps)
    return NORMS[threat.norm].project(eps * signs, eps)


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
    return climb(model, images, labels, threat, [Step(float(attack.step), loss)] * attack.steps, start)


def gama(
    model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, start: Tensor | None = None, steps: int = 100
) -> Tensor:
    """Adversarial images by the guided adversarial margin attack, GAMA-PGD (Sriramanan et al., 2020).

    Takes and returns what ``perturb`` does. The weight of the relaxation falls linearly from 50 to 0 over the first
    quarter of the steps; steps begin at 2 eps and shrink tenfold after 60% and after 85% of them.
    """
    with torch.no_grad(), frozen(model):
        clean = model(images).softmax(1)
    return climb(model, images, labels, threat, _gama_steps(clean, steps), start)


def _gama_steps(clean: Tensor, steps: int) -> Iterator[Step]:
    for step in range(steps):
        size = 2 * 0.1 ** ((step >= 0.6 * steps) + (step >= 0.85 * steps))
        yield Step(size, partial(guided_margin, clean=clean, weight=50 * max(0, 1 - step / (0.25 * steps))))


ATTACKS: dict[str, Adversary] = {
    "fgsm": Adversary(partial(perturb, attack=FGSM)),
    "pgd20": Adversary(partial(perturb, attack=PGD20), random_start),
    "cw": Adversary(partial(perturb, attack=PGD20, loss=margin), random_start),
    "gama100": Adversary(gama, corner_start),
}
"""The gradient attacks of the paper's section 5, by the name that recipes and tables use."""


def climb(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: Iterable[Step],
    start: Tensor | None = None,
) -> Tensor:
    """The engine: steps along the gradient of each step's loss, projected into the ball and into [0, 1]."""
    norm, eps = NORMS[threat.norm], float(threat.eps)
    adversarial = images if start is None else (images + start).clamp(0, 1)
    with frozen(model):
        for step in steps:
            adversarial = adversarial.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(step.loss(model(adversarial), labels), adversarial)
            moved = adversarial.detach() + step.size * eps * norm.ascend(gradient)
            adversarial = (images + norm.project(moved - images, eps)).clamp(0, 1)
    return adversarial
