"""3x3 convolutions with less than half of the multiplications: F(4x4, 3x3) of Lavin and Gray (CVPR 2016, section 4).

A tile of 6x6 inputs gives 4x4 outputs by 36 products where the definition takes 144, so that the whole is 36 products
of matrices between two linear maps. It is exact in exact arithmetic; float32 leaves about 1e-5 of the largest output
(the definition 4e-7). cuDNN takes the same form on GPUs by itself, what torch uses on a CPU does not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_TILE, _STEP, _TAPS = 6, 4, 3
_FEWEST = 64
"""Channels below which moving tiles takes longer than the products that it saves."""

_WEIGHT: list[list[float]] = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]


class Kernel(NamedTuple):
    """The weights of a convolution as the form takes them: 36 matrices [in, out], and those of its gradient.

    They are in the order of a tile's rows, each from left to right.
    """

    forward: Tensor
    backward: Tensor


def suits(images: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    """Whether ``convolve`` gives what ``conv2d`` gives with these arguments, and is likely to be quicker at it.

    Images are [N, C, H, W] with sides of whole tiles; the convolution keeps their size.
    """
    plain = [_pair(stride), _pair(padding), _pair(dilation), (groups, groups)] == [(1, 1)] * 4
    return (
        plain
        and images.ndim == 4
        and images.device.type == "cpu"
        and images.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and tuple(weight.shape[2:]) == (_TAPS, _TAPS)
        and min(weight.shape[:2]) >= _FEWEST
        and not any(side % _STEP for side in images.shape[2:])
    )


def _pair(value: Any) -> tuple[Any, ...]:
    return (value, value) if isinstance(value, int | str) else tuple(value) * (2 // len(value))


def kernel(weight: Tensor) -> Kernel:
    """The form of a weight [out, in, 3, 3]."""
    outputs, inputs = weight.shape[:2]
    taps = weight.permute(2, 3, 1, 0).reshape(_TAPS**2, inputs * outputs)
    once = torch.tensor(_WEIGHT, dtype=torch.float64)
    matrix = torch.kron(once, once).float()
    made, turned = (
        (each @ taps).view(_TILE**2, inputs, outputs)
        # The gradient is a convolution with the weight turned by half, its inputs and outputs exchanged.
        for each in (matrix, matrix.flip(1))
    )
    return Kernel(made, turned.transpose(1, 2))


def convolve(images: Tensor, kernel: Kernel, bias: Tensor | None) -> Tensor:
    """``conv2d`` with the weight of ``kernel``, stride 1 and padding 1, differentiable in the images alone.

    [N, C, H, W] -> [N, K, H, W], both best in channels last.
    """
    return _Convolution.apply(images, kernel.forward, kernel.backward, bias)


class _Convolution(torch.autograd.Function):
    """The convolution; its gradient is one too."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, forward: Tensor, backward: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(backward)
        return _whole(images, forward, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (backward,) = ctx.saved_tensors
        return _whole(gradients[0], backward, None), None, None, None


_AT_ONCE = 2**18
"""Numbers of a batch that are worked on together: they and their tiles should stay in a core's share of the cache."""
_IN_ALL = _TILE + 1
"""The product that each of the 16 outputs has once: that of the second row and column."""


def _whole(images: Tensor, matrices: Tensor, bias: Tensor | None) -> Tensor:
    shape = (len(images), matrices.shape[2], *images.shape[2:])
    output = torch.empty(shape, memory_format=torch.channels_last)
    part = max(1, _AT_ONCE // images[0].numel())
    for some, into in zip(images.split(part), output.permute(0, 2, 3, 1).split(part), strict=True):
        _part(some.permute(0, 2, 3, 1), matrices, bias, into)
    return output


def _part(images: Tensor, matrices: Tensor, bias: Tensor | None, into: Tensor) -> None:
    """The convolution of images [N, H, W, C] into [N, H, W, K], by rows of tiles and then by columns."""
    count, height, width, channels = images.shape
    high, wide = height // _STEP, width // _STEP
    lines = F.pad(images, (0, 0, 1, 1, 1, 1)).unfold(1, _TILE, _STEP)  # [N, high, W + 2, C, 6]
    rows = torch.empty(_TILE, count, high, width + 2, channels)
    _to_products(lines.movedim(-1, 0), rows)
    tiles = torch.empty(_TILE, _TILE, count, high, wide, channels)
    _to_products(rows.unfold(3, _TILE, _STEP).movedim(-1, 0), tiles.transpose(0, 1))
    products = torch.bmm(tiles.view(_TILE**2, -1, channels), matrices)
    if bias is not None:
        products[_IN_ALL] += bias
    sums = torch.empty(_STEP, products[0].numel() * _TILE)
    _to_outputs(products.view(_TILE, -1), sums)
    columns = sums.view(_STEP, _TILE, count, high, wide, -1).transpose(0, 1)
    _to_outputs(columns, into.view(count, high, _STEP, wide, _STEP, -1).permute(4, 2, 0, 1, 3, 5))


def _to_products(inputs: Tensor, into: Tensor) -> None:
    """What the products of one direction take of six neighbours: B^T d in the paper's letters, [6, ...]."""
    first, second = inputs[1:3], inputs[3:5]
    by_four, by_one = torch.sub(second, first, alpha=4), second - first
    torch.add(by_four[1], by_four[0], out=into[1])
    torch.sub(by_four[1], by_four[0], out=into[2])
    torch.add(by_one[1], by_one[0], alpha=2, out=into[3])
    torch.sub(by_one[1], by_one[0], alpha=2, out=into[4])
    torch.sub(inputs[4:6], inputs[2:4], alpha=5, out=into[::5]).add_(inputs[0:2], alpha=4)


def _to_outputs(products: Tensor, into: Tensor) -> None:
    """The outputs of one direction: A^T m there, [6, ...] -> [4, ...]."""
    odd, even = products[1:5:2], products[2:5:2]
    sums, differences = odd + even, odd - even
    torch.add(sums[0], sums[1], out=into[0]).add_(products[0])
    torch.add(differences[0], differences[1], alpha=2, out=into[1])
    torch.add(sums[0], sums[1], alpha=4, out=into[2])
    torch.add(differences[0], differences[1], alpha=8, out=into[3]).add_(products[5])
