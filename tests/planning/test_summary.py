"""What keeps its width, by kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import reconfig
from reconfig import FrozenKind

IMAGE = torch.zeros(2, 3, 16, 16)


class Net(nn.Module):
    """Two stages, and between the second and the head whatever a case does."""

    def __init__(self, use: Callable[[Tensor], Tensor], last: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.head = nn.Linear(last, 4)
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.use(self.second(self.first(x).relu())).mean((2, 3)))


class Shortcut(nn.Module):
    """The second stage is added to the pooled first one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head((self.second(x) + nn.functional.max_pool2d(x, 2)).mean((2, 3)))


_CONSTANT = torch.ones(1, 16, 1, 1)
STAGES = {"first": 1, "second": 2}


@pytest.mark.parametrize(
    ("model", "kind", "reason"),
    [
        (lambda: Net(lambda x: x.view(-1, 16, 8, 8)), FrozenKind.LITERAL, "the number 16 written in the code"),
        (lambda: Net(lambda x: x[:, [0, 2, 4]], last=3), FrozenKind.CALL, "Tensor.__getitem__ at test_summary.py:"),
        (lambda: Net(lambda x: torch.fft.fft2(x).abs()), FrozenKind.UNKNOWN_CALL, "unknown call torch.fft_fft2"),
        (lambda: Net(lambda x: x * _CONSTANT.to(x.device)), FrozenKind.CONSTANT, "neither parameter nor buffer"),
        (Shortcut, FrozenKind.TIED, "tied to stage 1, which has another ratio"),
    ],
    ids=lambda value: value.name if isinstance(value, FrozenKind) else "",
)
def test_every_reason_has_its_kind(model: Callable[[], nn.Module], kind: FrozenKind, reason: str) -> None:
    plan = reconfig.plan(model(), "10-5", example_input=IMAGE, stages=STAGES)
    (frozen,) = plan.frozen
    assert (frozen.stage, frozen.layers, frozen.width, frozen.kind) == (2, ("second",), 16, kind)
    assert reason in frozen.reason
    assert reconfig.Plan.from_json(plan.to_json()).frozen[0].kind is kind


def test_input_output_and_head_are_never_asked_to_scale() -> None:
    model = Net(lambda x: x)
    assert reconfig.plan(model, "10-5", gamma=2, example_input=IMAGE, stages=STAGES, strict=True).frozen == ()
