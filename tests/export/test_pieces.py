"""The parts that code is written from: sizes, layers, texts, constants, calls."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reconfig import ExportError
from reconfig.export.code.constants import UNPACK, constant
from reconfig.export.code.layers import layer, needed, settings
from reconfig.export.code.sizes import Dim, Ratio, Size, Term, Value, dims, evaluate, size
from reconfig.export.code.text import Text, hole, joined
from reconfig.export.code.values import call, literal, name_of, written

IMAGE = Value(0, (2, 3, 32, 48))


def test_sizes_remember_how_they_came_about() -> None:
    seen: list[tuple[Term, bool]] = []
    height = size(32, Dim(IMAGE, 2), lambda term, holds: seen.append((term, holds)))
    made: Any = math.ceil((2 * height - 1) / 4) % 7 + -height // 3
    assert int(made) == math.ceil(63 / 4) % 7 + -32 // 3
    assert isinstance(made, Size)
    assert set(dims(made.expression)) == {Dim(IMAGE, 2)}
    assert evaluate(made.expression, lambda _: (2, 3, 50, 48)) == math.ceil(99 / 4) % 7 + -50 // 3
    assert isinstance(height / 3, Ratio)
    assert seen == []
    assert height > 16
    assert not height == 33  # noqa: SIM201
    assert bool(height)
    assert [holds for _, holds in seen] == [True, False, True]
    assert seen[0][0] == Term("gt", (Dim(IMAGE, 2), 16))
    assert {32: "found"}[height] == "found"
    assert height + torch.ones(1) == 33  # what is no number is none of its business


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.Conv2d(4, 8, 3, stride=2, groups=2), "nn.Conv2d(4, 8, kernel_size=3, stride=2, groups=2)"),
        (nn.Conv2d(3, 4, (3, 1), padding="same"), "nn.Conv2d(3, 4, kernel_size=(3, 1), padding='same')"),
        (nn.Conv2d(3, 4, 1, bias=False), "nn.Conv2d(3, 4, kernel_size=1, bias=False)"),
        (nn.BatchNorm2d(8, affine=False), "nn.BatchNorm2d(8, affine=False)"),
        (nn.LayerNorm((8, 3), eps=1e-6), "nn.LayerNorm((8, 3), eps=1e-06)"),
        (nn.Linear(3, 4).double(), "nn.Linear(3, 4, dtype=torch.float64)"),
        (nn.AdaptiveAvgPool2d(1), "nn.AdaptiveAvgPool2d(1)"),
        (nn.ReLU(inplace=True), "nn.ReLU(inplace=True)"),
        (nn.MultiheadAttention(8, 2, batch_first=True), "nn.MultiheadAttention(8, 2, batch_first=True)"),
    ],
)  # fmt: skip
def test_layers(module: nn.Module, text: str) -> None:
    found = settings(module)
    assert found is not None
    names = needed(module, found)
    made = layer(module, {name: value for name, value in found.items() if name in names}).filled()
    assert made == text
    assert str(eval(made, {"nn": nn, "torch": torch})) == str(module)


def test_what_is_no_layer_of_torch() -> None:
    class Own(nn.Conv2d):
        pass

    hooked, changed = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
    hooked.register_forward_hook(lambda *_: None)
    changed.extra = 3  # type: ignore[assignment]
    assert [settings(module) for module in (Own(3, 4, 1), hooked, changed, nn.Sequential(), nn.LSTM(3, 4))] == [
        None
    ] * 5


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, 4),
        torch.tensor([0.1, 1 / 3, 1e-30]).repeat(5, 2, 1),
        torch.rand(100),
        torch.randperm(9).view(3, 3),
        torch.rand(3, 50).bfloat16(),
        torch.tensor([float("inf"), 0.0, float("nan")]),
        torch.rand(40) > 0.5,
        torch.tensor(7),
        torch.zeros(0, 3),
    ],
)
def test_constants_are_exact(tensor: Tensor) -> None:
    names: dict[str, Any] = {"torch": torch}
    exec("import base64, zlib" + UNPACK, names)
    made = eval(constant(tensor).filled(), names)
    assert (made.shape, made.dtype) == (tensor.shape, tensor.dtype)
    assert torch.equal(
        made.contiguous().view(torch.uint8) if made.dim() else made,
        tensor.contiguous().view(torch.uint8) if tensor.dim() else tensor,
    )


def names(item: Any) -> Text | None:
    if isinstance(item, Dim):
        return Text(f"x.shape[{item.index}]")
    return Text("x") if item is IMAGE else None


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "text"),
    [
        (Tensor.add, (IMAGE, 2), {}, "x + 2"),
        (Tensor.add, (IMAGE, 2), {"alpha": 3}, "x.add(2, alpha=3)"),
        (Tensor.__rsub__, (IMAGE, 1), {}, "1 - x"),
        (Tensor.__getitem__, (IMAGE, (slice(None), ..., 0, None, slice(1, None, 2))), {}, "x[:, ..., 0, None, 1::2]"),
        (Tensor.__setitem__, (IMAGE, 0, 1.5), {}, "x[0] = 1.5"),
        (Tensor.mT.__get__, (IMAGE,), {}, "x.mT"),
        (Tensor.view, (IMAGE, Dim(IMAGE, 0), -1), {}, "x.view(x.shape[0], -1)"),
        (F.relu, (IMAGE,), {"inplace": False}, "F.relu(x)"),
        (F.relu, (IMAGE,), {"inplace": True}, "F.relu(x, inplace=True)"),
        (torch.cat, ([IMAGE, IMAGE], 1), {}, "torch.cat([x, x], 1)"),
        (torch.einsum, ("nchw->nc", IMAGE), {}, "torch.einsum('nchw->nc', x)"),
        (torch.zeros, ((2,),), {"device": torch.device("meta")}, "torch.zeros((2,), device=x.device)"),
        (torch.ones, (2,), {"dtype": torch.float16}, "torch.ones(2, dtype=torch.float16)"),
        (F.pad, (IMAGE, (0, Term("mod", (Term("neg", (Dim(IMAGE, 3),)), 4)))), {}, "F.pad(x, (0, (-x.shape[3]) % 4))"),
    ],
)  # fmt: skip
def test_calls(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], text: str) -> None:
    assert call(function, args, kwargs, names, Text("x.device")).filled() == text


def test_what_has_no_text() -> None:
    with pytest.raises(ExportError, match="which has no text in a file \\(object\\)"):
        literal(object())
    with pytest.raises(ExportError, match="which is no function of torch, cannot be written into a file"):
        name_of(math.sin)


def test_texts_of_one_frame() -> None:
    text = "f(" + joined([hole("3", "width"), "x", literal(2.5)]) + ")"
    assert text.frame == "f(\0, x, \0)"
    assert text.filled() == "f(3, x, 2.5)"
    assert text.filled(lambda index, _: f"p{index}") == "f(p0, x, p1)"
    assert text.hinted("conv").holes[0].hint == ("conv", "width")
    assert written([1, (2,), {"a": True}], names).filled() == "[1, (2,), {'a': True}]"
