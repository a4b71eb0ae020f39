"""What a run leaves in a model is seen, or taken for granted where it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reconfig
from reconfig.trace.traces import kept, unchanged


@dataclass
class Settings:
    """Plain data, as a library keeps it."""

    size: int = 3
    history: list[int] = field(default_factory=list)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)
        self.calls = 0
        self.sizes: list[int] = [1]
        self.cache: dict[Any, Any] = {}
        self.settings = Settings()
        self.scale = torch.ones(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).mean((2, 3)))


def test_a_run_in_either_mode_leaves_nothing() -> None:
    model = Net()
    before = kept(model)
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    assert unchanged(before, model)


CHANGES: dict[str, Callable[[Any], object]] = {
    "a number": lambda model: setattr(model, "calls", 1),
    "a new attribute": lambda model: setattr(model, "last", None),
    "a list": lambda model: model.sizes.append(2),
    "an entry of a dictionary that was empty": lambda model: model.cache.update(a=1),
    "a list in a dataclass": lambda model: model.settings.history.append(1),
    "a tensor in place": lambda model: model.scale.add_(1),
    "a tensor": lambda model: setattr(model, "scale", torch.ones(1)),
    "another buffer": lambda model: setattr(model.norm, "running_mean", torch.zeros(8)),
    "another module": lambda model: setattr(model, "head", nn.Linear(8, 4)),
    "a hook": lambda model: model.conv.register_forward_hook(lambda *_: None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_seen(change: Callable[[Any], object]) -> None:
    model = Net()
    before = kept(model)
    change(model)
    assert not unchanged(before, model)


class Opaque:
    """Keeps what nobody sees."""


def test_what_cannot_be_seen_counts_as_changed() -> None:
    model = Net()
    model.note = Opaque()
    assert kept(model) is None
    assert not unchanged(kept(model), model)


class Counting(Net):
    """Keeps the batch that it saw last, in an attribute and in a cache."""

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.cache["last"] = x
        return super().forward(x)


def test_a_result_keeps_nothing_of_the_run_that_proved_it() -> None:
    result = reconfig.apply(Counting(), "10-5", example_input=torch.zeros(1, 3, 8, 8), stages={"*": 1})
    assert (result.calls, result.cache) == (0, {})
