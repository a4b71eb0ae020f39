"""Adversarial weight perturbation (Wu et al., 2020): each step is taken at the worst weights nearby."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_TINY = 1e-20
"""Keeps a gradient of zeros from being divided by its length; far below any that is not."""


def worst_direction(model: nn.Module, loss: Callable[[], Tensor], total: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """The perturbation of each weight that raises ``loss`` most, at the weight's own length.

    Wu et al. (2020, section 4), with one step of ascent. Weights are the parameters of two and more dimensions.
    ``total`` sums a gradient over all processes. Buffers, such as the running statistics that computing the loss
    would move, are left as they were.
    """
    before = [buffer.clone() for buffer in model.buffers()]
    chosen = weights(model)
    gradients = torch.autograd.grad(loss(), chosen)
    with torch.no_grad():
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)
        directions = []
        for weight, gradient in zip(chosen, gradients, strict=True):
            gradient = total(gradient)
            directions.append(gradient * (weight.norm() / gradient.norm().clamp_min(_TINY)))
    return directions


@contextmanager
def perturbed(model: nn.Module, directions: list[Tensor], size: float) -> Iterator[None]:
    """The weights moved by ``size`` times ``directions``; afterwards they are what they were, to the bit."""
    chosen = weights(model)
    before = [weight.detach().clone() for weight in chosen]
    with torch.no_grad():
        for weight, direction in zip(chosen, directions, strict=True):
            weight.add_(direction, alpha=size)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(chosen, before, strict=True):
                weight.copy_(value)


def weights(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that weight perturbation moves: neither biases nor norms' factors."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim > 1]
