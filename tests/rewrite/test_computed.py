"""Numbers that a forward computes from a tensor's shape: what they come from rounds as what they have to be."""

from __future__ import annotations

import pytest
import torch
from graphs import check
from structures import block, conv
from torch import Tensor, nn

import reconfig
from reconfig import FrozenKind

IMAGE = torch.zeros(2, 3, 16, 16)


class Attention(nn.Module):
    """Attention with ``heads`` heads, written as most code has it; ``inner`` is its width."""

    def __init__(self, width: int, heads: int, inner: int | None = None) -> None:
        super().__init__()
        self.heads, inner = heads, inner or width
        self.qkv, self.proj = nn.Linear(width, 3 * inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return x + self.proj(mixed.transpose(1, 2).reshape(batch, length, width))


class Flat(Attention):
    """The heads' number is all that is computed for the way back."""

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return x + self.proj(mixed.transpose(1, 2).reshape(batch, length, width))


class Net(nn.Module):
    def __init__(self, attention: nn.Module, width: int) -> None:
        super().__init__()
        self.stem, self.one, self.two = conv(3, 16), block(16, 16), block(16, width, 2)
        self.attention, self.head = attention, nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.two(self.one(self.stem(x))).flatten(2).transpose(1, 2)
        return self.head(self.attention(tokens).mean(1))


@pytest.mark.parametrize("attention", [Attention, Flat])
@pytest.mark.parametrize("heads", [4, 6])
@pytest.mark.parametrize("gamma", [1.0, 1.7])
def test_a_trunk_keeps_whole_heads(attention: type[Attention], heads: int, gamma: float) -> None:
    plan, result = check(Net(attention(48, heads), 48), IMAGE, "10-4", gamma=gamma)
    width = heads * round(48 * 0.4 * gamma / heads)
    assert not plan.frozen
    assert plan.stages[-1].width == (48, width)
    assert result.attention.qkv.out_features == 3 * width


class Talking(Attention):
    """Heads that a layer mixes, and that the values have as many of."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.mix = nn.Linear(heads, heads)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = self.mix((q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width))


def test_matrices_in_a_batch_are_as_many_on_both_sides() -> None:
    plan, result = check(Net(Talking(48, 4), 48), IMAGE, "10-5")
    (frozen,) = plan.frozen
    assert (frozen.layers, frozen.width, frozen.kind) == (("attention.mix",), 4, FrozenKind.CALL)
    assert (result.attention.qkv.out_features, result.attention.mix.out_features) == (72, 4)


class Written(Attention):
    """The length of a head stands in the code, and the width goes by it."""

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, width // 12, 12).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return x + self.proj(mixed.transpose(1, 2).reshape(batch, length, width))


def test_what_cannot_round_alike_stays_and_is_named() -> None:
    plan, _ = check(Net(Written(48, 4), 48), IMAGE, "10-4")
    assert {item.kind for item in plan.frozen} == {FrozenKind.LITERAL}
    assert {"two.inside.1", "attention.qkv"} <= {layer for item in plan.frozen for layer in item.layers}


def test_attention_of_another_width_than_its_trunk_is_refused_by_no_error() -> None:
    class Other(Flat):
        def forward(self, x: Tensor) -> Tensor:
            batch, length, width = x.shape
            q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, width // 8).permute(2, 0, 3, 1, 4)
            mixed = (q @ k.transpose(-2, -1)).softmax(-1) @ v
            return x + self.proj(mixed.transpose(1, 2).reshape(batch, length, -1))

    plan, result = check(Net(Other(48, 4, 24), 48), IMAGE, "10-4")
    assert result.attention.qkv.out_features == 3 * 4 * (plan.stages[-1].width[1] // 8)
    assert reconfig.Plan.from_json(plan.to_json()) == plan


class Scales(nn.Module):
    """A buffer of a length that the module knows by another number, of which its own code makes it anew."""

    def __init__(self, width: int, asserts: bool) -> None:
        super().__init__()
        self.dim, self.asserts = 4 * width, asserts
        self.register_buffer("scales", torch.empty(width), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.scales.copy_(torch.linspace(0.5, 1, self.dim // 4))

    def all(self) -> Tensor:
        assert not self.asserts or self.scales.numel() == self.dim // 4
        return self.scales.flatten()


class Scaled(nn.Module):
    def __init__(self, asserts: bool) -> None:
        super().__init__()
        self.stem, self.one, self.two = conv(3, 16), block(16, 16), block(16, 32, 2)
        self.by, self.head = Scales(32, asserts), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        scales = self.by.all()
        return self.head(self.two(self.one(self.stem(x))).mean((2, 3)) * scales)


@pytest.mark.parametrize(
    ("asserts", "kind", "reason"),
    [
        (False, FrozenKind.CALL, "reset_parameters of by makes tensors of its own length"),
        (True, FrozenKind.LITERAL, "sizes that do not follow the widths: "),
    ],
)
def test_a_length_that_a_module_insists_on_stays(asserts: bool, kind: FrozenKind, reason: str) -> None:
    plan, result = check(Scaled(asserts), IMAGE, "10-5")
    (frozen,) = plan.frozen
    assert (frozen.kind, frozen.width) == (kind, 32)
    assert frozen.reason.startswith(reason)
    assert result.two.inside[0][0].out_channels == 16


class AllAnew(Scaled):
    """It draws itself anew, and asks what it has to do so."""

    def reset_parameters(self) -> None:
        self.by.reset_parameters()


def test_who_asks_others_to_draw_theirs_anew_keeps_no_more_than_they() -> None:
    plan, _ = check(AllAnew(asserts=False), IMAGE, "10-5")
    (frozen,) = plan.frozen
    assert frozen.reason == "reset_parameters of by makes tensors of its own length"


def test_a_model_whose_own_reset_knows_lengths_stays_and_says_so() -> None:
    class Own(Scaled):
        def __init__(self) -> None:
            super().__init__(asserts=False)
            self.scales = nn.Parameter(torch.ones(32))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.two(self.one(self.stem(x))).mean((2, 3)) * self.scales)

        def reset_parameters(self) -> None:
            self.scales.copy_(torch.linspace(0.5, 1, 32))

    plan, _ = check(Own(), IMAGE, "10-5")
    assert {item.reason for item in plan.frozen} == {"reset_parameters of Own makes tensors of its own length"}
    assert plan.unscaled()
