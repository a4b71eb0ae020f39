"""What is done to weights beside the optimiser's steps: adversarial perturbation and averaging."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_TINY = 1e-20


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
def perturbed(model: nn.Module, directions: list[Tensor], gamma: float) -> Iterator[None]:
    """The weights moved by ``gamma`` times ``directions``; afterwards they are what they were, to the bit."""
    chosen = weights(model)
    before = [weight.detach().clone() for weight in chosen]
    with torch.no_grad():
        for weight, direction in zip(chosen, directions, strict=True):
            weight.add_(direction, alpha=gamma)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(chosen, before, strict=True):
                weight.copy_(value)


def weights(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that weight perturbation moves: neither biases nor norms' factors."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim > 1]


@torch.no_grad()
def average(mean: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move ``mean`` towards ``model`` after the ``step``-th step, counted from 0: mean <- d mean + (1 - d) model.

    d is ``decay``, but at most (1 + step) / (10 + step), so that the first weights are soon forgotten. Buffers with a
    fraction are averaged too, as batch statistics belong to the weights; counters are copied.
    """
    part = 1 - min(decay, (1 + step) / (10 + step))
    means, values = ([*module.parameters(), *module.buffers()] for module in (mean, model))
    for old, new in zip(means, values, strict=True):
        if old.is_floating_point():
            old.lerp_(new, part)
        else:
            old.copy_(new)
