"""Teaching reconfig a torch call of one's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import reconfig
from reconfig import elementwise
from reconfig.widths.calls import HANDLERS

IMAGE = torch.zeros(1, 3, 16, 16)


@torch.library.custom_op("reconfig_tests::soften", mutates_args=())
def soften(x: Tensor, amount: float) -> Tensor:
    """A custom operator that keeps the shape."""
    return x * amount


@soften.register_fake
def _(x: Tensor, amount: float) -> Tensor:
    return torch.empty_like(x)


soften.register_autograd(lambda ctx, grad: (grad, None))


class Softened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.ops.reconfig_tests.soften(self.b(self.a(x)), 0.5).mean((2, 3)))


@pytest.fixture
def _restored() -> Iterator[None]:
    before = dict(HANDLERS)
    yield
    HANDLERS.clear()
    HANDLERS.update(before)


def test_the_reason_shows_the_line() -> None:
    (frozen,) = reconfig.plan(Softened(), "10-5", example_input=IMAGE).frozen
    assert "unknown call torch.ops.reconfig_tests.soften at test_register.py:" in frozen.reason
    assert "teach it with reconfig.register(torch.ops.reconfig_tests.soften, handler)" in frozen.reason


@pytest.mark.usefixtures("_restored")
def test_a_registered_call_scales() -> None:
    reconfig.register(torch.ops.reconfig_tests.soften, elementwise)
    plan = reconfig.plan(Softened(), "10-5", example_input=IMAGE)
    assert not plan.frozen
    assert plan.apply(Softened())(torch.rand(2, 3, 16, 16)).shape == (2, 3)


def test_what_is_there_is_not_replaced() -> None:
    with pytest.raises(reconfig.ReconfigError, match=r"conv2d is handled already, by convolution; handlers: .*linear"):
        reconfig.register(torch.conv2d, elementwise)


@pytest.mark.parametrize(("call", "handler"), [("conv", elementwise), (torch.erf, "elementwise")])
def test_what_is_no_call(call: object, handler: object) -> None:
    with pytest.raises(reconfig.ReconfigError, match="register takes a torch call and its handler, not"):
        reconfig.register(call, handler)  # type: ignore[arg-type]
