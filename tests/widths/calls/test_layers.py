"""Convolutions and linear maps: each network halved, and checked from outside (see ``calls``)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from calls import Cases, Net, Shapes, check_call
from torch import Tensor, nn

CASES = Cases()


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (12, 8, 3, 3), "a.bias": (12,), "head.weight": (5, 12)})
class Plain(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 24, 3, padding="same")
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(F.relu(self.a(F.relu(self.front(x), inplace=True))))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (12, 2, 3, 3), "head.weight": (5, 12)})
class Grouped(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 24, 3, groups=4)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.front(x)))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 1, 3, 3), "b.weight": (4, 8, 1, 1), "head.weight": (5, 4)})
class Depthwise(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.b = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.b(self.a(self.front(x)).relu_()))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (16, 1, 3, 3), "b.weight": (8, 16, 1, 1)})
class DepthwiseMultiplier(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 32, 3, padding=1, groups=16)
        self.b = nn.Conv2d(32, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.b(F.relu6(self.a(self.front(x)))))


@CASES.case({"a.weight": (6, 1, 3, 3), "b.weight": (8, 6, 1, 1)})
class DepthwiseOnTheInput(Net):
    """The image's three channels are no width: a multiplier on them stays."""

    def make(self) -> None:
        self.a = nn.Conv2d(3, 6, 3, padding=1, groups=3)
        self.b = nn.Conv2d(6, 16, 1)
        del self.front

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.b(self.a(x)))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 4, 2, 2), "b.weight": (4, 8, 1, 1), "head.weight": (5, 8)})
class Transposed(Net):
    def make(self) -> None:
        self.a = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.b = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        up = self.a(F.max_pool2d(x, 2))
        return self.logits(torch.cat([up, self.b(x)], dim=1))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 4, 2, 2), "a.bias": (8,), "head.weight": (5, 8)})
class TransposedGrouped(Net):
    def make(self) -> None:
        self.a = nn.ConvTranspose2d(16, 16, 2, stride=2, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.front(x)))


@CASES.case(
    {"front.weight": (8, 3, 3, 3), "a.weight": (8, 1, 2, 2), "head.weight": (5, 8)},
)
class TransposedDepthwise(Net):
    def make(self) -> None:
        self.a = nn.ConvTranspose2d(16, 16, 2, stride=2, groups=16)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.front(x)))


@CASES.case({"a.weight": (8, 3, 3), "b.weight": (4, 8, 3), "head.weight": (5, 4)}, dims=1)
class OneDimensional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv1d(3, 16, 3, padding=1), nn.BatchNorm1d(16), nn.Conv1d(16, 8, 3)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(F.max_pool1d(F.relu(self.norm(self.a(x))), 2))
        return self.head(F.adaptive_avg_pool1d(x, 1).squeeze(-1))


@CASES.case({"a.weight": (8, 3, 3, 3, 3), "b.weight": (4, 8, 1, 1, 1), "head.weight": (5, 4)}, dims=3, size=6)
class ThreeDimensional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv3d(3, 16, 3), nn.BatchNorm3d(16), nn.Conv3d(16, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(F.relu(self.norm(self.a(x))))
        return self.head(F.adaptive_avg_pool3d(x, 1).flatten(1))


@CASES.case({"front.weight": (8, 3, 3, 3), "weight": (8, 8, 3, 3)})
class StandardisedByHand(Net):
    """A weight computed from a parameter, as in weight standardisation."""

    def make(self) -> None:
        self.weight = nn.Parameter(torch.randn(16, 16, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean(dim=(1, 2, 3), keepdim=True)
        std = self.weight.std(dim=(1, 2, 3), keepdim=True)
        return self.logits(F.conv2d(self.front(x), (self.weight - mean) / (std + 1e-5), padding=1))


@CASES.case({"front.weight": (8, 3, 3, 3), "weight": (12, 8, 3, 3), "gain": (12, 1, 1, 1), "head.weight": (5, 12)})
class StandardisedByBatchNorm(Net):
    """As timm's ScaledStdConv2d does it."""

    def make(self) -> None:
        self.weight = nn.Parameter(torch.randn(24, 16, 3, 3))
        self.gain = nn.Parameter(torch.full((24, 1, 1, 1), 0.7))
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        weight = F.batch_norm(
            self.weight.reshape(1, self.weight.shape[0], -1), None, None, weight=self.gain.view(-1), training=True
        ).reshape_as(self.weight)
        return self.logits(F.conv2d(self.front(x), weight, padding=1))


@CASES.case(
    {"front.weight": (8, 3, 3, 3), "a.parametrizations.weight.original1": (12, 8, 3, 3), "head.weight": (5, 12)},
)
class WeightNormalised(Net):
    def make(self) -> None:
        self.a = nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 24, 3))
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.front(x)))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (20, 8 * 64), "head.weight": (5, 20)})
class Flattened(Net):
    def make(self) -> None:
        self.a = nn.Linear(16 * 64, 40)
        self.head = nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.a(torch.flatten(self.front(x), 1))))


@CASES.case(
    {"front.weight": (8, 3, 3, 3), "a.weight": (32, 8), "norm.weight": (8,), "b.weight": (8, 32), "scale": (8,)}
)
class ChannelsLast(Net):
    """A ConvNeXt block: layer norm and linear maps on channels-last, LayerScale, back again."""

    def make(self) -> None:
        self.dw = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.norm, self.a, self.b = nn.LayerNorm(16), nn.Linear(16, 64), nn.Linear(64, 16)
        self.scale = nn.Parameter(1e-3 * torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y = self.norm(self.dw(x).permute(0, 2, 3, 1))
        y = self.scale * self.b(F.gelu(self.a(y)))
        return self.logits(x + y.permute(0, 3, 1, 2))


@CASES.case(
    {"front.weight": (8, 3, 3, 3), "a.weight": (20, 8), "b.weight": (8, 20)},
)
class PositionsInTheBatch(Net):
    """Every position is an example of its own to the linear maps (windows, pointwise MLPs)."""

    def make(self) -> None:
        self.a, self.b = nn.Linear(16, 40), nn.Linear(40, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        n, c, h, w = x.shape
        y = self.b(self.a(x.permute(0, 2, 3, 1).reshape(-1, c)).relu())
        return self.logits(x + y.view(n, h, w, c).permute(0, 3, 1, 2))


@CASES.case(
    {"front.weight": (8, 3, 3, 3), "matrix": (8, 12), "head.weight": (5, 12)},
)
class MatrixByHand(Net):
    def make(self) -> None:
        self.matrix = nn.Parameter(torch.randn(16, 24))
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.front(x).mean([2, 3]) @ self.matrix))


@pytest.mark.parametrize(("network", "after", "frozen", "input_of"), CASES.params)
def test_call(network: Callable[[], nn.Module], after: Shapes, frozen: str | None, input_of: dict[str, int]) -> None:
    check_call(network, after, frozen, input_of)
