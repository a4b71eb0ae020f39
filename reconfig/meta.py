"""Shapes at the speed of a dictionary look-up, for the calls that take nearly all of a meta run's time.

On the meta device torch decomposes some calls in Python (with torch 2.15 on one core a batch norm takes 2.5 ms, a relu
1.3 ms), so a forward on meta can be slower than a real one. ``FastShapes`` answers the plain cases of these calls
itself: contiguous tensors of one dtype whose shapes fit. Everything else, errors included, is left to torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
Rule = Callable[..., Any]
_RULES: dict[Any, Rule] = {}


class FastShapes(TorchDispatchMode):
    """While active, calls on meta tensors that have a rule do not reach torch's kernels."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = _RULES.get(func)
        if rule is not None and not kwargs:
            result = rule(*args)
            if result is not NotImplemented:
                return result
        return func(*args, **(kwargs or {}))


def _plain(tensor: object) -> bool:
    return isinstance(tensor, Tensor) and tensor.device.type == "meta" and tensor.is_contiguous()


def _new(like: Tensor, shape: Any = None) -> Tensor:
    with torch._C.DisableTorchFunction():  # it is no call of the model's
        return torch.empty(like.shape if shape is None else shape, dtype=like.dtype, device="meta")


def _rules(rule: Rule, *names: str) -> None:
    """Enter ``rule`` for aten overloads like "add.Tensor", where this torch has them."""
    for name in names:
        packet, _, overload = name.partition(".")
        found = getattr(getattr(aten, packet, None), overload or "default", None)
        if found is not None:
            _RULES[found] = rule


def _like_first(first: Tensor, *_: Any) -> Any:
    return _new(first) if _plain(first) and first.is_floating_point() else NotImplemented


def _in_place(first: Tensor, *rest: Any) -> Any:
    fits = all(not isinstance(other, Tensor) or other.shape == first.shape for other in rest)
    return first if _plain(first) and first.is_floating_point() and fits else NotImplemented


_rules(
    _like_first,
    *"relu silu sigmoid tanh hardswish hardsigmoid hardtanh leaky_relu elu mish softplus gelu".split(),
    *"exp neg sqrt rsqrt abs".split(),
    *"pow.Tensor_Scalar add.Scalar sub.Scalar mul.Scalar div.Scalar".split(),
    *"threshold_backward silu_backward sigmoid_backward tanh_backward hardswish_backward hardsigmoid_backward".split(),
    *"hardtanh_backward leaky_relu_backward elu_backward mish_backward softplus_backward gelu_backward".split(),
)
_rules(
    _in_place,
    *"relu_ silu_ hardswish_ hardsigmoid_ hardtanh_ leaky_relu_ elu_ add_.Tensor mul_.Tensor div_.Tensor".split(),
)


def _binary(left: Any, right: Any, *_: Any) -> Any:
    """The broadcast of two tensors, or of a tensor and a number."""
    if not _plain(left) or not left.is_floating_point():
        return NotImplemented
    if not isinstance(right, Tensor):
        return _new(left) if isinstance(right, int | float) else NotImplemented
    if not _plain(right) or right.dtype != left.dtype or right.dim() != left.dim():
        return NotImplemented
    pairs = list(zip(left.shape, right.shape, strict=True))
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        return NotImplemented
    return _new(left, tuple(b if a == 1 else a for a, b in pairs))


_rules(_binary, "add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor")


def _vectors_fit(channels: int, *vectors: Tensor | None) -> bool:
    return all(vector is None or tuple(vector.shape) == (channels,) for vector in vectors)


def _batch_norm(input: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *_: Any) -> Any:
    if not _plain(input) or input.dim() < 2 or not _vectors_fit(input.shape[1], weight, bias, mean, var):
        return NotImplemented
    if training and input.numel() // input.shape[1] < 2:
        return NotImplemented
    saved = (input.shape[1],)
    return _new(input), _new(input, saved), _new(input, saved)


def _batch_norm_no_stats(input: Tensor, weight: Any, bias: Any, training: bool, *_: Any) -> Any:
    return _batch_norm(input, weight, bias, None, None, training) if training else NotImplemented


_rules(_batch_norm, "native_batch_norm", "_native_batch_norm_legit")
_rules(_batch_norm_no_stats, "_native_batch_norm_legit.no_stats")


def _batch_norm_backward(grad: Tensor, input: Tensor, weight: Tensor | None, *rest: Any) -> Any:
    if not _plain(grad) or not _plain(input) or grad.shape != input.shape:
        return NotImplemented
    mask = rest[-1]
    vector = (input.shape[1],)
    shapes = (input.shape, vector, vector)
    return tuple(_new(input, shape) if wanted else None for shape, wanted in zip(shapes, mask, strict=True))


_rules(_batch_norm_backward, "native_batch_norm_backward")


def _layer_norm(input: Tensor, normalized: Any, weight: Any, bias: Any, *_: Any) -> Any:
    own = tuple(input.shape[input.dim() - len(normalized) :])
    fits = all(vector is None or tuple(vector.shape) == own for vector in (weight, bias))
    if not _plain(input) or own != tuple(normalized) or not fits:
        return NotImplemented
    saved = (*input.shape[: input.dim() - len(normalized)], *[1] * len(normalized))
    return _new(input), _new(input, saved), _new(input, saved)


_rules(_layer_norm, "native_layer_norm")


def _mean(input: Tensor, dims: Any, keepdim: bool = False, *_: Any) -> Any:
    if not _plain(input) or not dims or not input.is_floating_point():
        return NotImplemented
    rank = input.dim()
    gone = {dim % rank for dim in dims}
    if len(gone) < len(dims) or not all(-rank <= dim < rank for dim in dims):
        return NotImplemented
    kept = ((axis, size) for axis, size in enumerate(input.shape) if keepdim or axis not in gone)
    return _new(input, tuple(1 if axis in gone else size for axis, size in kept))


_rules(_mean, "mean.dim")


def _cat(tensors: Any, dim: int = 0) -> Any:
    if not tensors or not -tensors[0].dim() <= dim < tensors[0].dim():
        return NotImplemented
    first = tensors[0]
    axis = dim % first.dim()
    for other in tensors:
        if not _plain(other) or other.dtype != first.dtype or other.dim() != first.dim():
            return NotImplemented
        if other.shape[:axis] != first.shape[:axis] or other.shape[axis + 1 :] != first.shape[axis + 1 :]:
            return NotImplemented
    length = sum(other.shape[axis] for other in tensors)
    return _new(first, (*first.shape[:axis], length, *first.shape[axis + 1 :]))


_rules(_cat, "cat")


def _convolution_backward(grad: Tensor, input: Tensor, weight: Tensor, bias: Any, *rest: Any) -> Any:
    if not all(_plain(tensor) for tensor in (grad, input, weight)) or (not bias and rest[-1][2]):
        return NotImplemented
    shapes = (input.shape, weight.shape, bias)
    return tuple(_new(input, shape) if wanted else None for shape, wanted in zip(shapes, rest[-1], strict=True))


_rules(_convolution_backward, "convolution_backward")
