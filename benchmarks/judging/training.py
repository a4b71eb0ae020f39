"""Whether a model trains: a forward and backward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.judging.models import Entry, build
from reconfig.trace.leaves import leaves

_LARGER_SIZE = 299


def train(model: nn.Module, entry: Entry, classes: int) -> list[str]:
    """``train_once`` at the entry's size, or, where not even the original trains at it, at a larger one."""
    try:
        return train_once(model, torch.rand(2, 3, entry.input_size, entry.input_size), classes)
    except Exception:
        try:
            train_once(build(entry), torch.rand(2, 3, entry.input_size, entry.input_size), classes)
        except Exception:
            return train_once(model, torch.rand(2, 3, _LARGER_SIZE, _LARGER_SIZE), classes)
        raise


def train_once(model: nn.Module, images: Tensor, classes: int) -> list[str]:
    """A forward and backward pass in training mode; what is wrong with it.

    A gradient is dropped as soon as it was looked at, so that large models fit.
    """
    problems: list[str] = []

    def seen(parameter: Tensor) -> None:
        if parameter.grad is not None and parameter.grad.shape != parameter.shape:
            problems.append("a gradient has not its parameter's shape")
        parameter.grad = None
        reached.append(parameter.numel())

    reached: list[int] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(seen)
    model.train()
    outputs = list(leaves(model(images), Tensor))
    if any(output.shape[0] != images.shape[0] or output.shape[-1] != classes for output in outputs):
        problems.append(f"training: outputs of shapes {[tuple(output.shape) for output in outputs]}")
    torch.stack([output.mean() for output in outputs]).sum().backward()
    if not reached:
        problems.append("training: no parameter got a gradient")
    return problems
