"""3x3 convolutions with less than half of the multiplications: F(4x4, 3x3) of Lavin and Gray (CVPR 2016, section 4.1).

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
_FEWEST = 128
"""Channels below which moving tiles takes longer than the products that it saves."""

_INPUT: list[list[float]] = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_WEIGHT: list[list[float]] = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_OUTPUT: list[list[float]] = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


class Kernel(NamedTuple):
    """The weights of a convolution as the form takes them: 36 matrices [in, out], and those of its gradient."""

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
    matrix = _twice(_WEIGHT)
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


_AT_ONCE = 2**20
"""Numbers of a batch that are worked on together: they and their tiles should stay in a core's share of the cache."""


def _whole(images: Tensor, matrices: Tensor, bias: Tensor | None) -> Tensor:
    shape = (len(images), matrices.shape[2], *images.shape[2:])
    output = torch.empty(shape, memory_format=torch.channels_last)
    added = torch.zeros(1) if bias is None else bias
    part = max(1, _AT_ONCE // images[0].numel())
    for some, into in zip(images.split(part), output.permute(0, 2, 3, 1).split(part), strict=True):
        _part(some, matrices, added, into)
    return output


def _part(images: Tensor, matrices: Tensor, bias: Tensor, into: Tensor) -> None:
    count, channels, height, width = images.shape
    high, wide = height // _STEP, width // _STEP
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    tiles = padded.unfold(1, _TILE, _STEP).unfold(2, _TILE, _STEP)  # [N, high, wide, C, 6, 6]
    tiles = tiles.permute(4, 5, 0, 1, 2, 3).reshape(_TILE**2, -1)
    taken = (_twice(_INPUT) @ tiles).view(_TILE**2, count * high * wide, channels)
    products = torch.bmm(taken, matrices).view(_TILE**2, -1)
    made = (_twice(_OUTPUT) @ products).view(_STEP, _STEP, count, high, wide, -1)
    torch.add(made.permute(2, 3, 0, 4, 1, 5), bias, out=into.view(count, high, _STEP, wide, _STEP, -1))


def _twice(rows: list[list[float]]) -> Tensor:
    """The map of a tile's rows and columns as one matrix."""
    matrix = torch.tensor(rows, dtype=torch.float64)
    return torch.kron(matrix, matrix).float()
