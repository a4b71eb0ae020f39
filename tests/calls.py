"""Tiny networks, one for each kind of call, written as people write it, and how they are checked from outside.

``stages={"*": 1}`` puts every layer into one stage, so the rule "5-5" halves all that can change, and what is left
tells about the call alone. ``after`` has the shapes that the parameters must then have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from graphs import check
from torch import Tensor, nn

import reconfig

Shapes = dict[str, tuple[int, ...]]


class Cases:
    """The networks of a test module."""

    def __init__(self) -> None:
        self.params: list[Any] = []

    def case(self, after: Shapes, *, frozen: str | None = None, **input_of: Any) -> Callable[[Any], Any]:
        """Enter a network into the table: its shapes when everything is halved, and the reason for what stays."""

        def enter(network: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
            self.params.append(pytest.param(network, after, frozen, input_of, id=network.__name__))
            return network

        return enter


def image(channels: int = 3, size: int = 8, dims: int = 2) -> Tensor:
    return torch.randn(2, channels, *[size] * dims)


def check_call(network: Callable[[], nn.Module], after: Shapes, frozen: str | None, input_of: dict[str, int]) -> None:
    model, x = network(), image(**input_of)
    stages = {"*": 1} if list(model.children()) else None
    plan, result = check(model, x, "5-5", stages=stages)
    assert {name: tuple(p.shape) for name, p in result.named_parameters() if name in after} == after
    reasons = "; ".join(item.reason for item in plan.frozen)
    if frozen is None:
        assert not plan.frozen, reasons
    else:
        assert frozen in reasons
    check(model, x, "10-10", gamma=1.7, stages=stages)
    same = reconfig.plan(model, "10-10", example_input=x, stages=stages)
    assert same.before == same.after
    assert (same.flops, same.attributes) == (plan.flops_before, ())


class Net(nn.Module):
    """A convolution in front, then what a case defines, with ``self.make`` in place of a constructor."""

    classes = 5

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv2d(3, 16, 3, padding=1)
        self.head = nn.Linear(16, self.classes)
        self.make()

    def make(self) -> None:
        """Add layers."""

    def logits(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))
