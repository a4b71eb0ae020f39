"""Joins and cuts: each network halved, and checked from outside (see ``calls``)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from calls import Cases, Net, Shapes, check_call
from torch import Tensor, nn

CASES = Cases()


@CASES.case({"a.weight": (8, 8, 1, 1)})
class SlicedByTensors(Net):
    """Bounds that were computed cut positions."""

    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.front(x))
        start = torch.tensor(1)
        canvas = torch.zeros_like(x)
        canvas[:, :, start : start + 2] = x[:, :, start : start + 2]
        return self.logits(canvas)


@CASES.case({"a.weight": (4, 8, 1, 1), "b.weight": (12, 8, 1, 1), "c.weight": (8, 16, 3, 3), "norm.weight": (16,)})
class Concat(Net):
    def make(self) -> None:
        self.a, self.b, self.norm = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 24, 1), nn.BatchNorm2d(32)
        self.c = nn.Conv2d(32, 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(self.c(self.norm(torch.cat((self.a(x), self.b(x)), 1))))


@CASES.case({"a.weight": (4, 8, 1, 1), "b.weight": (4, 8, 1, 1), "c.weight": (8, 8, 1, 1)})
class ConcatAddedToAWhole(Net):
    def make(self) -> None:
        self.a, self.b, self.c = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1), nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(self.c(x) + torch.cat([self.a(x), self.b(x)], dim=-3))


@CASES.case({"a.weight": (8, 8, 1, 1), "b.weight": (8, 8, 1, 1)})
class Stack(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(torch.stack([self.a(x), self.b(x), x], dim=1).sum(1))


@CASES.case({"a.weight": (8, 4, 3, 3), "front.weight": (8, 3, 3, 3)})
class Chunk(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(8, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        left, right = x.chunk(2, dim=1)
        return self.logits(self.a(left * torch.sigmoid(right)) + x)


@CASES.case({"a.weight": (8, 4, 1, 1), "b.weight": (8, 4, 1, 1)})
class SplitInHalvesByShape(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(8, 16, 1), nn.Conv2d(8, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        left, right = torch.split(x, x.shape[1] // 2, dim=1)
        return self.logits(self.a(left) + self.b(right))


@CASES.case(
    {"a.weight": (8, 2, 1, 1), "b.weight": (8, 6, 1, 1), "front.weight": (8, 3, 3, 3)},
)
class SplitByAttribute(Net):
    def make(self) -> None:
        self.sizes = [4, 12]
        self.a, self.b = nn.Conv2d(4, 16, 1), nn.Conv2d(12, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.split(self.front(x), self.sizes, 1)
        return self.logits(self.a(left) + self.b(right))


@CASES.case({"front.weight": (16, 3, 3, 3), "a.weight": (8, 4, 1, 1)}, frozen="number 4 written in the code: ")
class SplitByLiteral(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(4, 16, 1), nn.Conv2d(12, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.front(x).split([4, 12], dim=1)
        return self.logits(self.a(left) + self.b(right))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (4, 4, 3, 3), "b.weight": (8, 8, 1, 1)})
class SlicedByShape(Net):
    """Partial convolution (FasterNet): one half is convolved, the other goes through."""

    def make(self) -> None:
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        half = x.size(1) // 2
        return self.logits(self.b(torch.cat([self.a(x[:, :half]), x[:, half:, :, :]], 1)))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (2, 2, 3, 3)})
class SlicedByAttribute(Net):
    def make(self) -> None:
        self.part = 4
        self.a = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(torch.cat([self.a(x[:, : self.part]), x[:, self.part :]], 1))


@CASES.case(
    {"front.weight": (16, 3, 3, 3), "a.weight": (2, 4, 3, 3)},
    frozen="written in the code: Tensor.__getitem__ at test_joining.py",
)
class SlicedByLiteral(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(torch.cat([self.a(x[:, :4]), x[:, 4:]], 1))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 4, 3, 3)})
class EverySecondChannel(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(8, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(self.a(x[:, ::2]) + self.a(x[:, 1::2]))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 4, 3, 3)})
class Narrow(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(8, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        half = x.shape[1] // 2
        return self.logits(self.a(x.narrow(1, 0, half)) - self.a(torch.narrow(x, 1, half, half)))


@CASES.case({"front.weight": (16, 3, 3, 3)}, frozen="Tensor.__getitem__ at test_joining.py:")
class ChosenChannels(Net):
    """Indexing by a list picks certain channels: they must stay what they are."""

    def make(self) -> None:
        self.head = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.front(x)[:, [0, 3, 5]])


@CASES.case({"front.weight": (16, 3, 3, 3)}, frozen="torch.index_select at test_joining.py:")
class IndexSelect(Net):
    def make(self) -> None:
        self.register_buffer("order", torch.randperm(16))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(torch.index_select(self.front(x), 1, self.order))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class SpatialIndexing(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        x = self.a(x[:, :, 1:, 1:]) + x[..., :-1, :-1]
        return self.head(x[:, :, 0, 0] + x[:, :, [1, 2], [0, 1]].sum(-1))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (4, 4, 3, 3)})
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


@CASES.case(
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


@CASES.case(
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


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class InPlace(Net):
    def make(self) -> None:
        self.a, self.norm = nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y = self.norm(self.a(x))
        y += x
        y.mul_(0.5).clamp_(-1, 1)
        return self.logits(F.relu(y, inplace=True))


@pytest.mark.parametrize(("network", "after", "frozen", "input_of"), CASES.params)
def test_call(network: Callable[[], nn.Module], after: Shapes, frozen: str | None, input_of: dict[str, int]) -> None:
    check_call(network, after, frozen, input_of)
