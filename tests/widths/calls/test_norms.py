"""Normalisations: each network halved, and checked from outside (see ``calls``)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from calls import Cases, Net, Shapes, check_call
from torch import Tensor, nn

CASES = Cases()


@CASES.case(
    {"front.weight": (8, 3, 3, 3), "a.weight": (8,), "b.weight": (8,), "c.weight": (8,), "slope.weight": (8,)},
)
class Norms(Net):
    def make(self) -> None:
        self.a, self.b, self.c = nn.BatchNorm2d(16), nn.GroupNorm(4, 16), nn.InstanceNorm2d(16, affine=True)
        self.slope = nn.PReLU(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.slope(self.c(self.b(self.a(self.front(x))))))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8,)})
class AGroupForEveryChannel(Net):
    def make(self) -> None:
        self.a = nn.GroupNorm(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.front(x)))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8,)})
class InstanceNormWithStatistics(Net):
    def make(self) -> None:
        self.a = nn.InstanceNorm2d(16, affine=True, track_running_stats=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.front(x)))


@CASES.case({"front.weight": (8, 3, 3, 3)})
class NormsWithoutParameters(Net):
    def make(self) -> None:
        self.a, self.b = nn.BatchNorm2d(16, affine=False), nn.InstanceNorm2d(16)
        self.c, self.slope = nn.GroupNorm(1, 16, affine=False), nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.slope(self.c(self.b(self.a(self.front(x))))))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8,)})
class NormWithoutStatistics(Net):
    def make(self) -> None:
        self.a = nn.BatchNorm2d(16, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.front(x)))


@CASES.case({"front.weight": (16, 3, 3, 3), "norm.weight": (16, 8, 8)}, frozen="F.layer_norm at test_norms.py:")
class NormOverPositions(Net):
    def make(self) -> None:
        self.norm = nn.LayerNorm([16, 8, 8])

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.norm(self.front(x)))


@CASES.case({"front.weight": (8, 3, 3, 3), "gamma": (1, 1, 1, 8), "beta": (1, 1, 1, 8)})
class GlobalResponseNorm(Net):
    def make(self) -> None:
        self.gamma, self.beta = (nn.Parameter(torch.zeros(1, 1, 1, 16)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x).permute(0, 2, 3, 1)
        spread = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        x = self.gamma * (x * (spread / (spread.mean(dim=-1, keepdim=True) + 1e-6))) + self.beta + x
        return self.logits(x.permute(0, 3, 1, 2))


@CASES.case({"front.weight": (8, 3, 3, 3), "weight": (8,), "bias": (8,)})
class LayerNormByHand(Net):
    def make(self) -> None:
        self.weight, self.bias = nn.Parameter(torch.rand(16)), nn.Parameter(torch.rand(16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        mean = x.mean(1, keepdim=True)
        spread = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(spread + 1e-6)
        return self.logits(self.weight[:, None, None] * x + self.bias[:, None, None])


@CASES.case({"front.weight": (8, 3, 3, 3), "scale": (8, 1, 1)})
class NormsOfTensors(Net):
    """Reductions with the order of the norm given by position."""

    def make(self) -> None:
        self.scale = nn.Parameter(torch.ones(16, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        x = x / (1 + x.norm(2, 1, True)) + x / (1 + torch.norm(x, 2, 1).unsqueeze(1))
        return self.head((x * self.scale).norm(2, -1).norm(1, 2))


@pytest.mark.parametrize(("network", "after", "frozen", "input_of"), CASES.params)
def test_call(network: Callable[[], nn.Module], after: Shapes, frozen: str | None, input_of: dict[str, int]) -> None:
    check_call(network, after, frozen, input_of)
