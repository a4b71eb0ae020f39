"""One tiny network for each kind of call, written as people write it, checked from outside.

``stages={"*": 1}`` puts every layer into one stage, so the rule "5-5" halves all that can change, and what is left
tells about the call alone. ``after`` has the shapes that the parameters must then have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from graphs import check
from torch import Tensor, nn

import reconfig

Shapes = dict[str, tuple[int, ...]]
CASES: list[Any] = []


def case(after: Shapes, *, frozen: str | None = None, **input_of: Any) -> Callable[[Any], Any]:
    """Enter a network into the table: its shapes when everything is halved, and the reason for what stays."""

    def enter(network: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        CASES.append(pytest.param(network, after, frozen, input_of, id=network.__name__))
        return network

    return enter


def image(channels: int = 3, size: int = 8, dims: int = 2) -> Tensor:
    return torch.randn(2, channels, *[size] * dims)


@pytest.mark.parametrize(("network", "after", "frozen", "input_of"), CASES)
def test_call(network: Callable[[], nn.Module], after: Shapes, frozen: str | None, input_of: dict[str, int]) -> None:
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


# -- convolutions ------------------------------------------------------------------------------------------------------


@case({"front.weight": (8, 3, 3, 3), "a.weight": (12, 8, 3, 3), "a.bias": (12,), "head.weight": (5, 12)})
class Plain(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 24, 3, padding="same")
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(F.relu(self.a(F.relu(self.front(x), inplace=True))))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (12, 2, 3, 3), "head.weight": (5, 12)})
class Grouped(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 24, 3, groups=4)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.front(x)))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 1, 3, 3), "b.weight": (4, 8, 1, 1), "head.weight": (5, 4)})
class Depthwise(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.b = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.b(self.a(self.front(x)).relu_()))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (16, 1, 3, 3), "b.weight": (8, 16, 1, 1)})
class DepthwiseMultiplier(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 32, 3, padding=1, groups=16)
        self.b = nn.Conv2d(32, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.b(F.relu6(self.a(self.front(x)))))


@case({"a.weight": (6, 1, 3, 3), "b.weight": (8, 6, 1, 1)})
class DepthwiseOnTheInput(Net):
    """The image's three channels are no width: a multiplier on them stays."""

    def make(self) -> None:
        self.a = nn.Conv2d(3, 6, 3, padding=1, groups=3)
        self.b = nn.Conv2d(6, 16, 1)
        del self.front

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.b(self.a(x)))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 4, 2, 2), "b.weight": (4, 8, 1, 1), "head.weight": (5, 8)})
class Transposed(Net):
    def make(self) -> None:
        self.a = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.b = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        up = self.a(F.max_pool2d(x, 2))
        return self.logits(torch.cat([up, self.b(x)], dim=1))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 4, 2, 2), "a.bias": (8,), "head.weight": (5, 8)})
class TransposedGrouped(Net):
    def make(self) -> None:
        self.a = nn.ConvTranspose2d(16, 16, 2, stride=2, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.front(x)))


@case(
    {"front.weight": (8, 3, 3, 3), "a.weight": (8, 1, 2, 2), "head.weight": (5, 8)},
)
class TransposedDepthwise(Net):
    def make(self) -> None:
        self.a = nn.ConvTranspose2d(16, 16, 2, stride=2, groups=16)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.front(x)))


@case({"a.weight": (8, 3, 3), "b.weight": (4, 8, 3), "head.weight": (5, 4)}, dims=1)
class OneDimensional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv1d(3, 16, 3, padding=1), nn.BatchNorm1d(16), nn.Conv1d(16, 8, 3)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(F.max_pool1d(F.relu(self.norm(self.a(x))), 2))
        return self.head(F.adaptive_avg_pool1d(x, 1).squeeze(-1))


@case({"a.weight": (8, 3, 3, 3, 3), "b.weight": (4, 8, 1, 1, 1), "head.weight": (5, 4)}, dims=3, size=6)
class ThreeDimensional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv3d(3, 16, 3), nn.BatchNorm3d(16), nn.Conv3d(16, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(F.relu(self.norm(self.a(x))))
        return self.head(F.adaptive_avg_pool3d(x, 1).flatten(1))


@case({"front.weight": (8, 3, 3, 3), "weight": (8, 8, 3, 3)})
class StandardisedByHand(Net):
    """A weight computed from a parameter, as in weight standardisation."""

    def make(self) -> None:
        self.weight = nn.Parameter(torch.randn(16, 16, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean(dim=(1, 2, 3), keepdim=True)
        std = self.weight.std(dim=(1, 2, 3), keepdim=True)
        return self.logits(F.conv2d(self.front(x), (self.weight - mean) / (std + 1e-5), padding=1))


@case({"front.weight": (8, 3, 3, 3), "weight": (12, 8, 3, 3), "gain": (12, 1, 1, 1), "head.weight": (5, 12)})
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


@case(
    {"front.weight": (8, 3, 3, 3), "a.parametrizations.weight.original1": (12, 8, 3, 3), "head.weight": (5, 12)},
)
class WeightNormalised(Net):
    def make(self) -> None:
        self.a = nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 24, 3))
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.front(x)))


# -- linear maps -------------------------------------------------------------------------------------------------------


@case({"front.weight": (8, 3, 3, 3), "a.weight": (20, 8 * 64), "head.weight": (5, 20)})
class Flattened(Net):
    def make(self) -> None:
        self.a = nn.Linear(16 * 64, 40)
        self.head = nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.a(torch.flatten(self.front(x), 1))))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (32, 8), "norm.weight": (8,), "b.weight": (8, 32), "scale": (8,)})
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


@case(
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


@case(
    {"front.weight": (8, 3, 3, 3), "matrix": (8, 12), "head.weight": (5, 12)},
)
class MatrixByHand(Net):
    def make(self) -> None:
        self.matrix = nn.Parameter(torch.randn(16, 24))
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.front(x).mean([2, 3]) @ self.matrix))


# -- norms -------------------------------------------------------------------------------------------------------------


@case(
    {"front.weight": (8, 3, 3, 3), "a.weight": (8,), "b.weight": (8,), "c.weight": (8,), "slope.weight": (8,)},
)
class Norms(Net):
    def make(self) -> None:
        self.a, self.b, self.c = nn.BatchNorm2d(16), nn.GroupNorm(4, 16), nn.InstanceNorm2d(16, affine=True)
        self.slope = nn.PReLU(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.slope(self.c(self.b(self.a(self.front(x))))))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8,)})
class InstanceNormWithStatistics(Net):
    def make(self) -> None:
        self.a = nn.InstanceNorm2d(16, affine=True, track_running_stats=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.front(x)))


@case({"front.weight": (8, 3, 3, 3)})
class NormsWithoutParameters(Net):
    def make(self) -> None:
        self.a, self.b = nn.BatchNorm2d(16, affine=False), nn.InstanceNorm2d(16)
        self.c, self.slope = nn.GroupNorm(1, 16, affine=False), nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.slope(self.c(self.b(self.a(self.front(x))))))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8,)})
class NormWithoutStatistics(Net):
    def make(self) -> None:
        self.a = nn.BatchNorm2d(16, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.front(x)))


@case({"front.weight": (16, 3, 3, 3), "norm.weight": (16, 8, 8)}, frozen="F.layer_norm at test_ops.py:")
class NormOverPositions(Net):
    def make(self) -> None:
        self.norm = nn.LayerNorm([16, 8, 8])

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.norm(self.front(x)))


@case({"front.weight": (8, 3, 3, 3), "gamma": (1, 1, 1, 8), "beta": (1, 1, 1, 8)})
class GlobalResponseNorm(Net):
    def make(self) -> None:
        self.gamma, self.beta = (nn.Parameter(torch.zeros(1, 1, 1, 16)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x).permute(0, 2, 3, 1)
        spread = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        x = self.gamma * (x * (spread / (spread.mean(dim=-1, keepdim=True) + 1e-6))) + self.beta + x
        return self.logits(x.permute(0, 3, 1, 2))


@case({"front.weight": (8, 3, 3, 3), "weight": (8,), "bias": (8,)})
class LayerNormByHand(Net):
    def make(self) -> None:
        self.weight, self.bias = nn.Parameter(torch.rand(16)), nn.Parameter(torch.rand(16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        mean = x.mean(1, keepdim=True)
        spread = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(spread + 1e-6)
        return self.logits(self.weight[:, None, None] * x + self.bias[:, None, None])


@case({"front.weight": (8, 3, 3, 3), "scale": (8, 1, 1)})
class NormsOfTensors(Net):
    """Reductions with the order of the norm given by position."""

    def make(self) -> None:
        self.scale = nn.Parameter(torch.ones(16, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        x = x / (1 + x.norm(2, 1, True)) + x / (1 + torch.norm(x, 2, 1).unsqueeze(1))
        return self.head((x * self.scale).norm(2, -1).norm(1, 2))


# -- joins and cuts ----------------------------------------------------------------------------------------------------


@case({"a.weight": (4, 8, 1, 1), "b.weight": (12, 8, 1, 1), "c.weight": (8, 16, 3, 3), "norm.weight": (16,)})
class Concat(Net):
    def make(self) -> None:
        self.a, self.b, self.norm = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 24, 1), nn.BatchNorm2d(32)
        self.c = nn.Conv2d(32, 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(self.c(self.norm(torch.cat((self.a(x), self.b(x)), 1))))


@case({"a.weight": (4, 8, 1, 1), "b.weight": (4, 8, 1, 1), "c.weight": (8, 8, 1, 1)})
class ConcatAddedToAWhole(Net):
    def make(self) -> None:
        self.a, self.b, self.c = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1), nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(self.c(x) + torch.cat([self.a(x), self.b(x)], dim=-3))


@case({"a.weight": (8, 8, 1, 1), "b.weight": (8, 8, 1, 1)})
class Stack(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(torch.stack([self.a(x), self.b(x), x], dim=1).sum(1))


@case({"a.weight": (8, 4, 3, 3), "front.weight": (8, 3, 3, 3)})
class Chunk(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(8, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        left, right = x.chunk(2, dim=1)
        return self.logits(self.a(left * torch.sigmoid(right)) + x)


@case({"a.weight": (8, 4, 1, 1), "b.weight": (8, 4, 1, 1)})
class SplitInHalvesByShape(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(8, 16, 1), nn.Conv2d(8, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        left, right = torch.split(x, x.shape[1] // 2, dim=1)
        return self.logits(self.a(left) + self.b(right))


@case(
    {"a.weight": (8, 2, 1, 1), "b.weight": (8, 6, 1, 1), "front.weight": (8, 3, 3, 3)},
)
class SplitByAttribute(Net):
    def make(self) -> None:
        self.sizes = [4, 12]
        self.a, self.b = nn.Conv2d(4, 16, 1), nn.Conv2d(12, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.split(self.front(x), self.sizes, 1)
        return self.logits(self.a(left) + self.b(right))


@case({"front.weight": (16, 3, 3, 3), "a.weight": (8, 4, 1, 1)}, frozen="number 4 written in the code: ")
class SplitByLiteral(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(4, 16, 1), nn.Conv2d(12, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.front(x).split([4, 12], dim=1)
        return self.logits(self.a(left) + self.b(right))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (4, 4, 3, 3), "b.weight": (8, 8, 1, 1)})
class SlicedByShape(Net):
    """Partial convolution (FasterNet): one half is convolved, the other goes through."""

    def make(self) -> None:
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        half = x.size(1) // 2
        return self.logits(self.b(torch.cat([self.a(x[:, :half]), x[:, half:, :, :]], 1)))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (2, 2, 3, 3)})
class SlicedByAttribute(Net):
    def make(self) -> None:
        self.part = 4
        self.a = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(torch.cat([self.a(x[:, : self.part]), x[:, self.part :]], 1))


@case(
    {"front.weight": (16, 3, 3, 3), "a.weight": (2, 4, 3, 3)},
    frozen="written in the code: Tensor.__getitem__ at test_ops.py",
)
class SlicedByLiteral(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(torch.cat([self.a(x[:, :4]), x[:, 4:]], 1))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 4, 3, 3)})
class EverySecondChannel(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(8, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(self.a(x[:, ::2]) + self.a(x[:, 1::2]))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 4, 3, 3)})
class Narrow(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(8, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        half = x.shape[1] // 2
        return self.logits(self.a(x.narrow(1, 0, half)) - self.a(torch.narrow(x, 1, half, half)))


@case({"front.weight": (16, 3, 3, 3)}, frozen="Tensor.__getitem__ at test_ops.py:")
class ChosenChannels(Net):
    """Indexing by a list picks certain channels: they must stay what they are."""

    def make(self) -> None:
        self.head = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.front(x)[:, [0, 3, 5]])


@case({"front.weight": (16, 3, 3, 3)}, frozen="torch.index_select at test_ops.py:")
class IndexSelect(Net):
    def make(self) -> None:
        self.register_buffer("order", torch.randperm(16))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(torch.index_select(self.front(x), 1, self.order))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class SpatialIndexing(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        x = self.a(x[:, :, 1:, 1:]) + x[..., :-1, :-1]
        return self.head(x[:, :, 0, 0] + x[:, :, [1, 2], [0, 1]].sum(-1))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (4, 4, 3, 3)})
class AssignedSlice(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y = x.clone()
        half = x.shape[1] // 2
        y[:, :half] = self.a(x[:, :half])
        y[:, half:, :, :] = 0.0
        return self.logits(y)


@case(
    {"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)},
)
class AssignedPositions(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y = torch.zeros_like(x)
        y[..., 1:] = self.a(x[..., :-1])
        y[..., 0] = 1.0
        return self.logits(y)


@case(
    {"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)},
)
class AssignedIntoNew(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        n, c, h, w = x.shape
        y = x.new_zeros(n, c, h + 2, w + 2)
        y[:, :, 1:-1, 1:-1] = self.a(x)
        return self.logits(y)


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class InPlace(Net):
    def make(self) -> None:
        self.a, self.norm = nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y = self.norm(self.a(x))
        y += x
        y.mul_(0.5).clamp_(-1, 1)
        return self.logits(F.relu(y, inplace=True))


# -- shapes ------------------------------------------------------------------------------------------------------------


@case({"front.weight": (8, 3, 3, 3), "a.weight": (20, 8 * 16), "head.weight": (5, 20)})
class ViewByBatch(Net):
    def make(self) -> None:
        self.a, self.head = nn.Linear(16 * 16, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.front(x), 2)
        return self.head(self.a(x.view(x.size(0), -1)))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (20, 8 * 16)})
class ViewByShapes(Net):
    def make(self) -> None:
        self.a, self.head = nn.Linear(16 * 16, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(self.front(x), 2)
        n, c, h, w = x.shape
        return self.head(self.a(x.reshape(n, c * h * w)))


@case(
    {"front.weight": (16, 3, 3, 3), "a.weight": (20, 256)},
    frozen="the number 256 written in the code: Tensor.view at test_ops.py:",
)
class ViewByLiteral(Net):
    def make(self) -> None:
        self.a, self.head = nn.Linear(16 * 16, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.front(x), 2)
        return self.head(self.a(x.view(-1, 256)))


@case({"front.weight": (16, 3, 3, 3)}, frozen="written in the code: Tensor.view at test_ops.py:")
class ViewByLiteralDims(Net):
    def make(self) -> None:
        self.a, self.head = nn.Linear(16 * 16, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.front(x), 2)
        return self.head(self.a(x.view(-1, 16 * 4 * 4)))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (20, 128)})
class ViewByAttribute(Net):
    """A number that the class keeps for itself follows."""

    def make(self) -> None:
        self.fc_size = 256
        self.a, self.head = nn.Linear(self.fc_size, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.front(x), 2)
        return self.head(self.a(x.view(-1, self.fc_size)))


@case({"front.weight": (8, 3, 3, 3), "head.weight": (5, 8)})
class ViewByWidthAttribute(Net):
    def make(self) -> None:
        self.planes = 16

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.adaptive_avg_pool2d(self.front(x), 1).view(-1, self.planes))


@case({"front.weight": (8, 3, 3, 3), "flat.1.weight": (20, 512)})
class FlattenModule(Net):
    def make(self) -> None:
        self.flat = nn.Sequential(nn.Flatten(), nn.Linear(16 * 64, 40), nn.ReLU(), nn.Linear(40, 5))
        del self.head

    def forward(self, x: Tensor) -> Tensor:
        return self.flat(self.front(x))


@case({"front.weight": (8, 3, 3, 3), "b.weight": (8, 8, 3, 3)})
class UnflattenModule(Net):
    def make(self) -> None:
        self.flat, self.up, self.b = nn.Flatten(), nn.Unflatten(1, (16, 8, 8)), nn.Conv2d(16, 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.b(self.up(self.flat(self.front(x)))))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (256, 8), "b.weight": (8, 16, 3, 3)}, frozen="at test_ops.py:")
class ChannelsFromALinear(Net):
    """A linear map makes a feature map: which of the new dimensions is to scale cannot be known."""

    def make(self) -> None:
        self.a, self.b = nn.Linear(16, 256), nn.Conv2d(16, 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(self.front(x).mean((2, 3)))
        return self.logits(self.b(y.view(y.size(0), -1, 4, 4)))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 4, 1, 1)})
class ChannelShuffle(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.front(x))
        n, c, h, w = x.size()
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
        return self.logits(self.a(x))


@case(
    {"front.weight": (8, 3, 3, 3), "a.weight": (8, 2, 1, 1)},
)
class ChannelShuffleModule(Net):
    def make(self) -> None:
        self.a, self.shuffle = nn.Conv2d(16, 16, 1, groups=4), nn.ChannelShuffle(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.shuffle(self.a(self.front(x)))))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (4, 2, 1, 1), "b.weight": (8, 16, 1, 1)})
class PixelShuffle(Net):
    def make(self) -> None:
        self.up, self.a = nn.PixelShuffle(2), nn.Conv2d(4, 8, 1)
        self.down, self.b = nn.PixelUnshuffle(2), nn.Conv2d(32, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.b(self.down(self.a(self.up(self.front(x))))))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 32, 1, 1)})
class SpaceToDepthByHand(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(64, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, c * 4, h // 2, w // 2)
        return self.logits(self.a(x))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 32, 1, 1)})
class FocusByStrides(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(64, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        corners = (x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2])
        return self.logits(self.a(torch.cat(corners, dim=1)))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8)})
class Permutations(Net):
    def make(self) -> None:
        self.a = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y = self.a(torch.movedim(x, 1, -1)).moveaxis(-1, 1)
        z = self.a(x.flatten(2).transpose(-1, -2)).mT.unflatten(2, (8, 8))
        return self.logits(y + z + x.permute([0, 1, 3, 2]).swapaxes(2, 3))


@case({"front.weight": (8, 3, 3, 3), "scale": (8,)})
class Broadcasts(Net):
    def make(self) -> None:
        self.scale = nn.Parameter(torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y = x * self.scale.view(1, -1, 1, 1) + self.scale.reshape(-1, 1, 1)
        y = y + self.scale[None, :, None, None].expand_as(x) + self.scale.unsqueeze(-1).unsqueeze(-1)
        return self.logits(y)


@case(
    {"front.weight": (8, 3, 3, 3)},
)
class ExpandedToTheChannels(Net):
    """Spatial attention, stretched to the channels by a number taken from the shape."""

    def make(self) -> None:
        self.a = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        gate = torch.sigmoid(self.a(x))
        return self.logits(x * gate.expand(-1, x.size(1), -1, -1))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 16, 1, 1), "b.weight": (8, 24, 1, 1)})
class Repeats(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(32, 16, 1), nn.Conv2d(48, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.front(x).repeat(1, 2, 1, 1))
        return self.logits(self.b(torch.tile(x, (1, 3, 1, 1))))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class GateRepeated(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        gate = self.a(x.mean((2, 3), keepdim=True))
        return self.logits(x * gate.repeat(1, 1, x.shape[2], x.shape[3]))


# -- pads, pools, resizing ---------------------------------------------------------------------------------------------


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 3, 3)})
class SpatialPads(Net):
    def make(self) -> None:
        self.pad, self.a = nn.ReflectionPad2d(1), nn.Conv2d(16, 16, 3)
        self.zero = nn.ZeroPad2d((1, 0, 1, 0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.pad(self.front(x)))
        return self.logits(self.a(F.pad(self.zero(x), [0, -1, 0, -1])) + F.pad(x, (-1, -1, -1, -1), mode="constant"))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (16, 8, 3, 3), "head.weight": (5, 16)})
class ChannelPadByShape(Net):
    """The parameter-free shortcut, by as many channels as are missing."""

    def make(self) -> None:
        self.a, self.head = nn.Conv2d(16, 32, 3, 2, 1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y = self.a(x)
        return self.logits(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, y.size(1) - x.size(1))))


@case({"front.weight": (16, 3, 3, 3), "a.weight": (32, 16, 3, 3)}, frozen="F.pad at test_ops.py:")
class ChannelPadByLiteral(Net):
    def make(self) -> None:
        self.a, self.head = nn.Conv2d(16, 32, 3, 2, 1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(self.a(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8)))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (16, 8, 3, 3), "head.weight": (5, 16)})
class ChannelPadByZeros(Net):
    def make(self) -> None:
        self.a, self.head = nn.Conv2d(16, 32, 3, 2, 1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y, short = self.a(x), F.avg_pool2d(x, 2)
        missing = torch.zeros(y.size(0), y.size(1) - short.size(1), y.size(2), y.size(3), device=x.device)
        return self.logits(y + torch.cat([short, missing], 1))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class Resizing(Net):
    def make(self) -> None:
        self.a, self.up = nn.Conv2d(16, 16, 1), nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y = self.up(self.a(F.avg_pool2d(x, 2)))
        z = F.interpolate(self.a(F.max_pool2d(x, 2, 2)), size=x.shape[2:], mode="bilinear", align_corners=False)
        return self.logits(x + y + z + F.interpolate(self.a(x[:, :, ::2, ::2]), scale_factor=2))


@case({"front.weight": (8, 3, 3, 3), "head.weight": (5, 8 * 11)})
class Pools(Net):
    def make(self) -> None:
        self.a, self.b = nn.AdaptiveAvgPool2d((2, 2)), nn.AdaptiveMaxPool2d(1)
        self.c, self.d = nn.LPPool2d(2, 4), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.head = nn.Linear(16 * 11, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        d, _ = F.max_pool2d(self.d(x), 2, return_indices=True)
        pooled = [self.a(x), self.b(x), self.c(x), F.adaptive_avg_pool2d(d, 1), F.adaptive_avg_pool2d(x, 1)]
        pooled = [p.flatten(1) for p in pooled]
        return self.head(torch.cat(pooled, 1))


@case({"front.weight": (8, 3, 3, 3), "head.weight": (5, 8)})
class Reductions(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        peak, _ = x.max(dim=2)
        low = torch.amin(x, dim=(2, 3))
        return self.head(peak.mean(-1) + low + x.sum(3).sum(2) + x.flatten(2).std(-1) + x.logsumexp((-1, -2)))


# -- gates, attention --------------------------------------------------------------------------------------------------


@case({"front.weight": (8, 3, 3, 3), "a.weight": (2, 8), "b.weight": (8, 2)})
class SqueezeExcite(Net):
    def make(self) -> None:
        self.a, self.b = nn.Linear(16, 4), nn.Linear(4, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        n, c, _, _ = x.size()
        gate = F.adaptive_avg_pool2d(x, 1).view(n, c)
        gate = torch.sigmoid(self.b(F.relu(self.a(gate)))).view(n, c, 1, 1)
        return self.logits(x * gate.expand_as(x))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (2, 8, 1, 1), "b.weight": (8, 2, 1, 1)})
class SqueezeExciteConv(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(x * self.b(F.silu(self.a(x.mean((2, 3), keepdim=True)))).sigmoid())


@case({"front.weight": (8, 3, 3, 3), "a.weight": (1, 1, 3)})
class EfficientChannelAttention(Net):
    """A one-dimensional convolution over the channels: they are its positions, which no layer resizes."""

    def make(self) -> None:
        self.a = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        gate = self.a(x.mean((2, 3)).unsqueeze(1)).squeeze(1)
        return self.logits(x * gate.sigmoid()[:, :, None, None])


@case(
    {"front.weight": (8, 3, 3, 3), "qkv.weight": (24, 8), "out.weight": (8, 8)},
)
class AttentionByMatmul(Net):
    def make(self) -> None:
        self.heads = 2
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        n, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        qkv = self.qkv(tokens).reshape(n, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attention = ((q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5).softmax(dim=-1)
        tokens = self.out((attention @ v).transpose(1, 2).reshape(n, h * w, c))
        return self.logits(tokens.transpose(1, 2).reshape(n, c, h, w) + x)


@case({"front.weight": (8, 3, 3, 3), "qkv.weight": (24, 8), "out.weight": (8, 8)})
class AttentionFused(Net):
    def make(self) -> None:
        self.heads = 2
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        n, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).view(n, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        tokens = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.logits(x + self.out(tokens).transpose(1, 2).view(n, c, h, w))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class Einsum(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, y = self.front(x).flatten(2), self.a(self.front(x)).flatten(2)
        return self.head(torch.einsum("ncl,nml->nmc", x, y).mean(1))


class EinsumWithParameter(Net):
    def make(self) -> None:
        self.mix = nn.Parameter(torch.randn(16, 24))
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        x = torch.einsum("nc...,nc->nc...", x, x.mean((2, 3)))
        return self.logits(torch.einsum("ncl,cd", x.flatten(2), self.mix).permute(2, 0, 1)[..., None])


def test_einsum_with_a_parameter_makes_channels() -> None:
    # Without `check`: fvcore's count of most equations is numpy's, rounded to four digits.
    plan = reconfig.plan(EinsumWithParameter(), "5-5", example_input=image(), stages={"*": 1})
    result = plan.apply(EinsumWithParameter())
    assert tuple(result.front.weight.shape) == (8, 3, 3, 3)
    assert tuple(result.head.weight.shape) == (5, 12)
    # A parameter of the model itself belongs to no module, so no pattern puts it into a stage.
    assert tuple(result.mix.shape) == (8, 12)
    assert result(image()).shape == (2, 5)


@case({"front.weight": (16, 3, 3, 3), "a.weight": (8, 16, 1, 1)}, frozen="unknown call torch.fft_fft2 at test_ops.py:")
class Fourier(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(torch.fft.fft2(self.front(x)).real))


# -- sharing -----------------------------------------------------------------------------------------------------------


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 3, 3)})
class CalledTwice(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(F.relu(self.a(self.front(x)))))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 3, 3)})
class TiedParameters(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.b(F.relu(self.a(self.front(x)))))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (4, 8)})
class TiedTransposed(Net):
    """An autoencoder's weight, used both ways."""

    def make(self) -> None:
        self.a = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x).mean((2, 3))
        return self.head(F.linear(F.relu(self.a(x)), self.a.weight.t()))


@case({"w1": (8, 3, 3, 3), "b1": (8,), "w2": (16, 8, 3, 3), "w3": (5, 16)})
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


@case({"params.w": (8, 3, 3, 3), "params.v": (5, 8)})
class ParameterDictionary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.params = nn.ParameterDict({"w": torch.randn(16, 3, 3, 3), "v": torch.randn(5, 16)})

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.conv2d(x, self.params["w"]).amax((2, 3)), self.params["v"])


# -- what the model keeps besides --------------------------------------------------------------------------------------


@case({"front.weight": (16, 3, 3, 3)}, frozen="a tensor that is neither parameter nor buffer, used at test_ops.py:")
class PlainTensor(Net):
    def make(self) -> None:
        self.mask = torch.rand(1, 16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.front(x) * self.mask)


@case({"front.weight": (8, 3, 3, 3)})
class Buffer(Net):
    def make(self) -> None:
        self.register_buffer("mask", torch.rand(1, 16, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.front(x) * self.mask)


@case({"front.weight": (8, 3, 3, 3)})
class BlurPool(Net):
    """The same filter for every channel, kept in a buffer with one group each."""

    def make(self) -> None:
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", (row[:, None] * row[None, :]).repeat(16, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), self.kernel, stride=2, groups=x.shape[1]))


@case(
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


@case(
    {"front.weight": (8, 3, 3, 3)},
)
class BlurPoolExpanded(Net):
    def make(self) -> None:
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", (row[:, None] * row[None, :])[None, None])

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(F.conv2d(x, self.kernel.expand(x.shape[1], -1, -1, -1), padding=1, groups=x.shape[1]))


@case({"front.weight": (8, 3, 3, 3)})
class DropPath(Net):
    def make(self) -> None:
        self.drop = nn.Dropout2d(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.front(x))
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(0.9)
        keep = torch.rand(x.shape[0], 1, 1, 1, dtype=x.dtype, device=x.device).floor() + 1
        return self.logits(x * mask.div_(0.9) * keep)


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
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


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class CustomFunction(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(_Swish.apply(self.front(x))))


@torch.jit.script
def _scripted(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


@case(
    {"front.weight": (16, 3, 3, 3), "a.weight": (8, 16, 1, 1)},
    frozen="at test_ops.py:",
)
class ScriptedFunction(Net):
    """What runs inside of TorchScript cannot be seen, so what goes in and comes out must stay."""

    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(_scripted(self.front(x))))


@case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class Checkpointed(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        if self.training:
            return self.logits(torch.utils.checkpoint.checkpoint(self.a, x, use_reentrant=False))
        return self.logits(self.a(x))


@case(
    {"a.weight": (7, 3, 3, 3), "b.weight": (9, 3, 3, 3), "c.weight": (4, 8, 1, 1)},
    frozen="torch.conv2d at test_ops.py:",
)
class GroupedOnAConcatOfOdds(Net):
    """Groups that cut across the pieces of a concat."""

    def make(self) -> None:
        self.a, self.b = nn.Conv2d(3, 7, 3, padding=1), nn.Conv2d(3, 9, 3, padding=1)
        self.c, self.head = nn.Conv2d(16, 8, 1, groups=2), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.c(torch.cat([self.a(x), self.b(x)], 1)))


@case(
    {"a.weight": (7, 3, 3, 3), "b.weight": (9, 3, 3, 3), "c.weight": (16, 8, 1, 1)},
    frozen="at test_ops.py:",
)
class GroupedAddedToUnevenConcat(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(3, 7, 3, padding=1), nn.Conv2d(3, 9, 3, padding=1)
        self.c = nn.Conv2d(16, 16, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.c(self.front(x))
        return self.logits(self.c(torch.cat([self.a(x), self.b(x)], 1) + y))


@case({"front.weight": (8, 3, 3, 3), "out.weight": (5, 8)})
class NestedOutputs(Net):
    def make(self) -> None:
        self.out = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> dict[str, Any]:
        x = self.front(x)
        return {"logits": self.logits(x), "more": [self.out(x.amax((2, 3)))]}


@case({"front.weight": (16, 3, 3, 3), "a.weight": (8, 16, 1, 1)})
class FeaturesReturned(Net):
    """What the model returns keeps its shape."""

    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.front(x)
        return self.logits(self.a(features)), features
