"""Multiply-adds of every call that costs any, by fvcore's rules, as a factor and the extents that it multiplies.

A law sees what the call's handler saw, and what it gave. A call that is not in the table costs nothing, as in fvcore.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from reconfig.trace.leaves import leaves
from reconfig.widths.algebra import Extent
from reconfig.widths.calls.products import einsum_lengths
from reconfig.widths.calls.table import named
from reconfig.widths.structure import Value

Product = tuple[int, tuple[Extent, ...]]
Law = Callable[..., Product | None]


def _convolution(node: fx.Node, result: Value, input: Value, weight: Value, *args: Any, **kwargs: Any) -> Product:
    channel = len(input.shape) - len(weight.shape) + 1
    return 1, (*result.dims[:channel], *weight.dims, *result.dims[channel + 1 :])


def _transposed(node: fx.Node, result: Value, input: Value, weight: Value, *args: Any, **kwargs: Any) -> Product:
    channel = len(input.shape) - len(weight.shape) + 1
    return math.prod(input.shape[channel + 1 :]), (*input.dims[:channel], *weight.dims)


def _linear(node: fx.Node, result: Value, input: Value, weight: Value, *args: Any, **kwargs: Any) -> Product:
    return 1, (*input.dims, weight.dims[0])


def _batch_norm(
    node: fx.Node,
    result: Value,
    input: Value,
    mean: Value | None = None,
    var: Value | None = None,
    weight: Value | None = None,
    bias: Value | None = None,
    training: bool = False,
    *args: Any,
    **kwargs: Any,
) -> Product:
    """With statistics of its own it is a scale and a shift; without, it has to find them."""
    if node.target is F.instance_norm or training is True:
        return (4 if weight is None else 5), input.dims
    return (1 if weight is None else 2), input.dims


def _norm(node: fx.Node, result: Value, input: Value, size: Any, *args: Any, **kwargs: Any) -> Product:
    scaled = any(True for _ in leaves((args, kwargs), Value))
    return (5 if scaled else 4), input.dims


def _pool(node: fx.Node, result: Value, input: Value, *args: Any, **kwargs: Any) -> Product:
    return 1, input.dims


def _resize(
    node: fx.Node,
    result: Value,
    input: Value,
    size: Any = None,
    factor: Any = None,
    mode: str = "nearest",
    **kwargs: Any,
) -> Product | None:
    if mode not in ("nearest", "bilinear") or len(result.shape) != 4:
        return None
    return (1 if mode == "nearest" else 4), result.dims


def _matmul(node: fx.Node, result: Value, left: Value, right: Value) -> Product | None:
    return (1, (*left.dims, right.dims[-1])) if min(len(left.shape), len(right.shape)) > 1 else None


def _einsum(node: fx.Node, result: Value, equation: Any, *operands: Any) -> Product | None:
    if not isinstance(equation, str):
        return None
    return 1, tuple(einsum_lengths(equation, list(leaves(operands, Value))).values())


LAWS: dict[Any, Law] = {
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), _convolution),
    **dict.fromkeys((torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d), _transposed),
    F.linear: _linear,
    **dict.fromkeys((F.batch_norm, torch.batch_norm, F.instance_norm), _batch_norm),
    **dict.fromkeys((F.group_norm, torch.group_norm, F.layer_norm, torch.layer_norm), _norm),
    **dict.fromkeys((F.adaptive_avg_pool2d, torch._C._nn.adaptive_avg_pool2d), _pool),
    **dict.fromkeys((F.interpolate, F.upsample), _resize),
    **dict.fromkeys(named("matmul bmm mm __matmul__ __rmatmul__"), _matmul),
    torch.einsum: _einsum,
}
