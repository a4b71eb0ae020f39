"""What is shared, kept besides parameters, or returned: each network halved, and checked (see ``calls``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from calls import Cases, Net, Shapes, check_call
from torch import Tensor, nn

CASES = Cases()


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 3, 3)})
class CalledTwice(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(F.relu(self.a(self.front(x)))))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 3, 3)})
class TiedParameters(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.b(F.relu(self.a(self.front(x)))))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (4, 8)})
class TiedTransposed(Net):
    """An autoencoder's weight, used both ways."""

    def make(self) -> None:
        self.a = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x).mean((2, 3))
        return self.head(F.linear(F.relu(self.a(x)), self.a.weight.t()))


@CASES.case({"w1": (8, 3, 3, 3), "b1": (8,), "w2": (16, 8, 3, 3), "w3": (5, 16)})
class FunctionalStyle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(16, 3, 3, 3)), nn.Parameter(torch.randn(16))
        self.w2, self.w3 = nn.Parameter(torch.randn(32, 16, 3, 3)), nn.Parameter(torch.randn(5, 32))
        self.register_buffer("mean", torch.zeros(16))
        self.register_buffer("var", torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.w1, self.b1, 1, 1)
        x = F.relu(F.batch_norm(x, self.mean, self.var, training=self.training))
        x = F.conv2d(x, self.w2, stride=2)
        return F.linear(x.mean((-2, -1)), self.w3)


@CASES.case({"params.w": (8, 3, 3, 3), "params.v": (5, 8)})
class ParameterDictionary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.params = nn.ParameterDict({"w": torch.randn(16, 3, 3, 3), "v": torch.randn(5, 16)})

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.conv2d(x, self.params["w"]).amax((2, 3)), self.params["v"])


@CASES.case(
    {"front.weight": (16, 3, 3, 3)}, frozen="a tensor that is neither parameter nor buffer, used at test_propagate.py:"
)
class PlainTensor(Net):
    def make(self) -> None:
        self.mask = torch.rand(1, 16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.front(x) * self.mask)


@CASES.case({"front.weight": (8, 3, 3, 3)})
class Buffer(Net):
    def make(self) -> None:
        self.register_buffer("mask", torch.rand(1, 16, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.front(x) * self.mask)


@CASES.case({"front.weight": (8, 3, 3, 3)})
class BlurPool(Net):
    """The same filter for every channel, kept in a buffer with one group each."""

    def make(self) -> None:
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", (row[:, None] * row[None, :]).repeat(16, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), self.kernel, stride=2, groups=x.shape[1]))


@CASES.case(
    {"front.weight": (8, 3, 3, 3)},
)
class BlurPoolRepeated(Net):
    """The filter is repeated to as many channels as come in."""

    def make(self) -> None:
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", (row[:, None] * row[None, :])[None, None])

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(F.conv2d(x, self.kernel.repeat(x.shape[1], 1, 1, 1), padding=1, groups=x.shape[1]))


@CASES.case(
    {"front.weight": (8, 3, 3, 3)},
)
class BlurPoolExpanded(Net):
    def make(self) -> None:
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", (row[:, None] * row[None, :])[None, None])

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(F.conv2d(x, self.kernel.expand(x.shape[1], -1, -1, -1), padding=1, groups=x.shape[1]))


@CASES.case({"front.weight": (8, 3, 3, 3)})
class DropPath(Net):
    def make(self) -> None:
        self.drop = nn.Dropout2d(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.front(x))
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(0.9)
        keep = torch.rand(x.shape[0], 1, 1, 1, dtype=x.dtype, device=x.device).floor() + 1
        return self.logits(x * mask.div_(0.9) * keep)


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class NoiseAndCasts(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        x = x + 0.0 * torch.randn_like(x) + 0.0 * torch.zeros(x.shape, device=x.device)
        x = torch.where(x > 0, x, 0.1 * x).to(x.dtype).contiguous(memory_format=torch.channels_last)
        return self.logits(self.a(x).float().type_as(x) - x.detach())


class _Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return grad * (s * (1 + x * (1 - s)))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class CustomFunction(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(_Swish.apply(self.front(x))))


@torch.jit.script
def _scripted(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


@CASES.case(
    {"front.weight": (16, 3, 3, 3), "a.weight": (8, 16, 1, 1)},
    frozen="at test_propagate.py:",
)
class ScriptedFunction(Net):
    """What runs inside of TorchScript cannot be seen, so what goes in and comes out must stay."""

    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(_scripted(self.front(x))))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class Checkpointed(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        if self.training:
            return self.logits(torch.utils.checkpoint.checkpoint(self.a, x, use_reentrant=False))
        return self.logits(self.a(x))


@CASES.case(
    {"a.weight": (7, 3, 3, 3), "b.weight": (9, 3, 3, 3), "c.weight": (4, 8, 1, 1)},
    frozen="torch.conv2d at test_propagate.py:",
)
class GroupedOnAConcatOfOdds(Net):
    """Groups that cut across the pieces of a concat."""

    def make(self) -> None:
        self.a, self.b = nn.Conv2d(3, 7, 3, padding=1), nn.Conv2d(3, 9, 3, padding=1)
        self.c, self.head = nn.Conv2d(16, 8, 1, groups=2), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.c(torch.cat([self.a(x), self.b(x)], 1)))


@CASES.case(
    {"a.weight": (7, 3, 3, 3), "b.weight": (9, 3, 3, 3), "c.weight": (16, 8, 1, 1)},
    frozen="at test_propagate.py:",
)
class GroupedAddedToUnevenConcat(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(3, 7, 3, padding=1), nn.Conv2d(3, 9, 3, padding=1)
        self.c = nn.Conv2d(16, 16, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.c(self.front(x))
        return self.logits(self.c(torch.cat([self.a(x), self.b(x)], 1) + y))


@CASES.case({"front.weight": (8, 3, 3, 3), "out.weight": (5, 8)})
class NestedOutputs(Net):
    def make(self) -> None:
        self.out = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> dict[str, Any]:
        x = self.front(x)
        return {"logits": self.logits(x), "more": [self.out(x.amax((2, 3)))]}


@CASES.case({"front.weight": (16, 3, 3, 3), "a.weight": (8, 16, 1, 1)}, frozen="a feature map that the model returns")
class FeaturesReturned(Net):
    """What the model returns keeps its shape."""

    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.front(x)
        return self.logits(self.a(features)), features


@pytest.mark.parametrize(("network", "after", "frozen", "input_of"), CASES.params)
def test_call(network: Callable[[], nn.Module], after: Shapes, frozen: str | None, input_of: dict[str, int]) -> None:
    check_call(network, after, frozen, input_of)
