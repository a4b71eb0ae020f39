"""Gates, attention and other products: each network halved, and checked from outside (see ``calls``)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from calls import Cases, Net, Shapes, check_call, image
from torch import Tensor, nn

import reconfig

CASES = Cases()


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (2, 8), "b.weight": (8, 2)})
class SqueezeExcite(Net):
    def make(self) -> None:
        self.a, self.b = nn.Linear(16, 4), nn.Linear(4, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        n, c, _, _ = x.size()
        gate = F.adaptive_avg_pool2d(x, 1).view(n, c)
        gate = torch.sigmoid(self.b(F.relu(self.a(gate)))).view(n, c, 1, 1)
        return self.logits(x * gate.expand_as(x))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (2, 8, 1, 1), "b.weight": (8, 2, 1, 1)})
class SqueezeExciteConv(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        return self.logits(x * self.b(F.silu(self.a(x.mean((2, 3), keepdim=True)))).sigmoid())


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (1, 1, 3)})
class EfficientChannelAttention(Net):
    """A one-dimensional convolution over the channels: they are its positions, which no layer resizes."""

    def make(self) -> None:
        self.a = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        gate = self.a(x.mean((2, 3)).unsqueeze(1)).squeeze(1)
        return self.logits(x * gate.sigmoid()[:, :, None, None])


@CASES.case(
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


@CASES.case({"front.weight": (8, 3, 3, 3), "qkv.weight": (24, 8), "out.weight": (8, 8)})
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


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
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


@CASES.case(
    {"front.weight": (16, 3, 3, 3), "a.weight": (8, 16, 1, 1)},
    frozen="unknown call torch.fft_fft2 at test_",
)
class Fourier(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(torch.fft.fft2(self.front(x)).real))


@pytest.mark.parametrize(("network", "after", "frozen", "input_of"), CASES.params)
def test_call(network: Callable[[], nn.Module], after: Shapes, frozen: str | None, input_of: dict[str, int]) -> None:
    check_call(network, after, frozen, input_of)
