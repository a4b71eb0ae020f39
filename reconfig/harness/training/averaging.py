"""A running mean of the weights, which is measured and saved instead of them."""

from __future__ import annotations

import torch
from torch import nn


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
