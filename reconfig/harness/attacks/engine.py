"""The projected-gradient engine of every attack: steps each of a size and a loss, and a projection.

Attacks differentiate with respect to the images alone, with the network in eval mode (unless
a training asks for its own mode) and its parameters frozen. A loss
that compares with something else, such as the clean prediction, is a function that was given it
(``functools.partial``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reconfig.harness.attacks.balls import NORMS
from reconfig.harness.attacks.losses import Loss
from reconfig.harness.experiment import Threat


class Step(NamedTuple):
    """One step of an ascent."""

    size: float
    """In units of eps."""
    loss: Loss


@contextmanager
def frozen(model: nn.Module, training: bool = False) -> Iterator[nn.Module]:
    """The model in eval mode (or as if it were ``training``), its parameters without gradients.

    Every mode and flag comes back afterwards.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.train(training)
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield model
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def climb(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: Iterable[Step],
    start: Tensor | None = None,
    training: bool = False,
) -> Tensor:
    """The engine: steps along the gradient of each step's loss, projected into the ball and into [0, 1].

    With ``training`` the network is attacked in training mode, and its batch statistics move with each step.
    """
    norm, eps = NORMS[threat.norm], float(threat.eps)
    adversarial = images if start is None else (images + start).clamp(0, 1)
    with frozen(model, training):
        for step in steps:
            adversarial = adversarial.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(step.loss(model(adversarial), labels), adversarial)
            moved = adversarial.detach() + step.size * eps * norm.ascend(gradient)
            adversarial = (images + norm.project(moved - images, eps)).clamp(0, 1)
    return adversarial
