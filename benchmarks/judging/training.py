"""Whether a model trains: a forward and backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.judging.losses import LOSSES
from benchmarks.judging.models import Entry, build
from reconfig.trace.leaves import leaves

_LARGER_SIZE = 299


def train(model: nn.Module, entry: Entry, classes: int) -> list[str]:
    """One step on the entry's loss; what is wrong with it.

    A classifier without one trains on its class scores, and where not even the original trains at its size, at a larger
    one.
    """
    if entry.loss:
        losses: list[Tensor] = []

        def loss() -> Tensor:
            losses.append(LOSSES[entry.loss](model, entry.examples(2)))
            return losses[0]

        problems = stepped(model, loss)
        return problems if losses[0].isfinite() else [*problems, "training: the loss is not finite"]
    try:
        return train_once(model, entry.examples(2), classes)
    except Exception:
        try:
            train_once(build(entry), entry.examples(2), classes)
        except Exception:
            return train_once(model, torch.rand(2, 3, _LARGER_SIZE, _LARGER_SIZE), classes)
        raise


def train_once(model: nn.Module, images: Tensor, classes: int) -> list[str]:
    """A step on the mean of the class scores; what is wrong with it."""
    problems: list[str] = []

    def loss() -> Tensor:
        outputs = list(leaves(model(images), Tensor))
        if any(output.shape[0] != images.shape[0] or output.shape[-1] != classes for output in outputs):
            problems.append(f"training: outputs of shapes {[tuple(output.shape) for output in outputs]}")
        return torch.stack([output.mean() for output in outputs]).sum()

    return problems + stepped(model, loss)


def stepped(model: nn.Module, loss: Callable[[], Tensor]) -> list[str]:
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
    loss().backward()
    if not reached:
        problems.append("training: no parameter got a gradient")
    return problems
