"""Pads, pools, resizing and reductions: each network halved, and checked from outside (see ``calls``)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from calls import Cases, Net, Shapes, check_call
from torch import Tensor, nn

CASES = Cases()


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 3, 3)})
class SpatialPads(Net):
    def make(self) -> None:
        self.pad, self.a = nn.ReflectionPad2d(1), nn.Conv2d(16, 16, 3)
        self.zero = nn.ZeroPad2d((1, 0, 1, 0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.pad(self.front(x)))
        return self.logits(self.a(F.pad(self.zero(x), [0, -1, 0, -1])) + F.pad(x, (-1, -1, -1, -1), mode="constant"))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (16, 8, 3, 3), "head.weight": (5, 16)})
class ChannelPadByShape(Net):
    """The parameter-free shortcut, by as many channels as are missing."""

    def make(self) -> None:
        self.a, self.head = nn.Conv2d(16, 32, 3, 2, 1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y = self.a(x)
        return self.logits(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, y.size(1) - x.size(1))))


@CASES.case({"front.weight": (16, 3, 3, 3), "a.weight": (32, 16, 3, 3)}, frozen="F.pad at test_spatial.py:")
class ChannelPadByLiteral(Net):
    def make(self) -> None:
        self.a, self.head = nn.Conv2d(16, 32, 3, 2, 1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(self.a(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8)))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (16, 8, 3, 3), "head.weight": (5, 16)})
class ChannelPadByZeros(Net):
    def make(self) -> None:
        self.a, self.head = nn.Conv2d(16, 32, 3, 2, 1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y, short = self.a(x), F.avg_pool2d(x, 2)
        missing = torch.zeros(y.size(0), y.size(1) - short.size(1), y.size(2), y.size(3), device=x.device)
        return self.logits(y + torch.cat([short, missing], 1))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class Resizing(Net):
    def make(self) -> None:
        self.a, self.up = nn.Conv2d(16, 16, 1), nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y = self.up(self.a(F.avg_pool2d(x, 2)))
        z = F.interpolate(self.a(F.max_pool2d(x, 2, 2)), size=x.shape[2:], mode="bilinear", align_corners=False)
        return self.logits(x + y + z + F.interpolate(self.a(x[:, :, ::2, ::2]), scale_factor=2))


@CASES.case({"front.weight": (8, 3, 3, 3), "head.weight": (5, 8 * 11)})
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


@CASES.case({"front.weight": (8, 3, 3, 3), "head.weight": (5, 8)})
class Reductions(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        peak, _ = x.max(dim=2)
        low = torch.amin(x, dim=(2, 3))
        return self.head(peak.mean(-1) + low + x.sum(3).sum(2) + x.flatten(2).std(-1) + x.logsumexp((-1, -2)))


@pytest.mark.parametrize(("network", "after", "frozen", "input_of"), CASES.params)
def test_call(network: Callable[[], nn.Module], after: Shapes, frozen: str | None, input_of: dict[str, int]) -> None:
    check_call(network, after, frozen, input_of)
