"""Shapes at the speed of a dictionary look-up, for the calls that take nearly all of a meta run's time.

On the meta device torch decomposes some calls in Python (with torch 2.14 on one core a relu takes 1.6 ms, a convolution
0.08 ms), so a forward on meta can be slower than a real one. What answering here buys (same machine, one forward): a
ResNet-50 takes 6 ms instead of 74, a DenseNet-121 18 instead of 190, a MobileNetV2 7 instead of 146; torch's own cache
of shapes (``FakeTensorMode``) takes 47, 136 and 53 ms once it has seen the network, and 194, 735 and 150 at first.

The plain cases of these calls are answered: contiguous tensors of one dtype whose shapes fit. Everything else, errors
included, is left to torch. ``answer`` is asked for a torch call as a model makes it, where no gradient is recorded;
``FastShapes`` for what arrives below torch's own code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
Rule = Callable[..., Any]
_RULES: dict[Any, Rule] = {}
_CALLS: dict[Any, Rule] = {}
_TENSORS = (Tensor, nn.Parameter)
_NUMBERS = {"negative_slope", "alpha", "min_val", "max_val", "beta", "threshold", "approximate"}


class FastShapes(TorchDispatchMode):
    """While active, calls on meta tensors that have a rule do not reach torch's kernels."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = _RULES.get(func)
        if rule is not None and not kwargs:
            with torch._C.DisableTorchFunction():  # the tensors that rules make are no calls of the model's
                result = rule(*args)
            if result is not NotImplemented:
                return result
        return func(*args, **(kwargs or {}))


def answer(call: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What a torch call gives on meta without gradients, or NotImplemented: torch has to be asked."""
    rule = _CALLS.get(call)
    if rule is None or torch.is_grad_enabled():
        return NotImplemented
    with torch._C._DisableTorchDispatch():  # making a tensor must not come by at FastShapes: that takes 15 times longer
        return rule(*args, **kwargs)


def _plain(tensor: Any) -> bool:
    """A subclass of tensors may do as it likes with a call."""
    return type(tensor) in _TENSORS and tensor.is_meta and tensor.is_contiguous()


def _new(like: Tensor, shape: Any = None) -> Tensor:
    return torch.empty(like.shape if shape is None else shape, dtype=like.dtype, device="meta")


def _rules(rule: Rule, *names: str) -> None:
    """Enter ``rule`` for aten overloads like "add.Tensor", where this torch has them."""
    for name in names:
        packet, _, overload = name.partition(".")
        found = getattr(getattr(aten, packet, None), overload or "default", None)
        if found is not None:
            _RULES[found] = rule


def _calls(rule: Rule, *names: str) -> None:
    """Enter ``rule`` for torch calls of these names: functions, functionals and tensor methods."""
    for owner in (torch, F, Tensor):
        _CALLS.update({getattr(owner, name): rule for name in names if hasattr(owner, name)})


def _like_first(first: Tensor, *_: Any) -> Any:
    return _new(first) if _plain(first) and first.is_floating_point() else NotImplemented


def _in_place(first: Tensor, *rest: Any) -> Any:
    fits = all(not isinstance(other, Tensor) or other.shape == first.shape for other in rest)
    return first if _plain(first) and first.is_floating_point() and fits else NotImplemented


def _activation(input: Any, *options: Any, inplace: bool = False, **more: Any) -> Any:
    """Options are numbers, and last, in torch's functionals, whether it works in place."""
    if not more.keys() <= _NUMBERS or not _plain(input) or not input.is_floating_point():
        return NotImplemented
    return input if inplace or any(option is True for option in options) else _new(input)


_rules(
    _like_first,
    *"relu silu sigmoid tanh hardswish hardsigmoid hardtanh leaky_relu elu mish softplus gelu".split(),
    *"exp neg sqrt rsqrt abs".split(),
    *"pow.Tensor_Scalar add.Scalar sub.Scalar mul.Scalar div.Scalar".split(),
    *"threshold_backward silu_backward sigmoid_backward tanh_backward hardswish_backward hardsigmoid_backward".split(),
    *"hardtanh_backward leaky_relu_backward elu_backward mish_backward softplus_backward gelu_backward".split(),
)
_calls(
    _activation,
    *"relu relu6 silu sigmoid tanh hardswish hardsigmoid hardtanh leaky_relu elu mish softplus gelu".split(),
    *"exp neg sqrt rsqrt abs".split(),
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
    if left.shape == right.shape:
        return _new(left)
    pairs = list(zip(left.shape, right.shape, strict=True))
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        return NotImplemented
    shape = tuple(b if a == 1 else a for a, b in pairs)
    # Where both give way, the layout of the result is torch's affair.
    return _new(left, shape) if shape in (left.shape, right.shape) else NotImplemented


_rules(_binary, "add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor")


def _arithmetic(left: Any, right: Any, **more: Any) -> Any:
    return NotImplemented if more or not isinstance(left, Tensor) else _binary(left, right)


def _arithmetic_in_place(left: Any, right: Any, **more: Any) -> Any:
    """Only the right side gives way to the left."""
    result = _arithmetic(left, right, **more)
    return left if result is not NotImplemented and result.shape == left.shape else NotImplemented


_calls(
    _arithmetic,
    *"add sub mul div true_divide __add__ __radd__ __sub__ __mul__ __rmul__ __truediv__".split(),
)
_calls(_arithmetic_in_place, *"add_ sub_ mul_ div_ __iadd__ __isub__ __imul__ __itruediv__".split())


def _vectors_fit(input: Tensor, channels: int, *vectors: Tensor | None) -> bool:
    return all(
        vector is None or (_plain(vector) and vector.dtype == input.dtype and tuple(vector.shape) == (channels,))
        for vector in vectors
    )


def _batch_norm(input: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *_: Any) -> Any:
    if not _plain(input) or not input.is_floating_point() or input.dim() < 2:
        return NotImplemented
    if not _vectors_fit(input, input.shape[1], weight, bias, mean, var):
        return NotImplemented
    if training and input.numel() // input.shape[1] < 2:
        return NotImplemented
    saved = (input.shape[1],)
    return _new(input), _new(input, saved), _new(input, saved)


def _batch_norm_no_stats(input: Tensor, weight: Any, bias: Any, training: bool, *_: Any) -> Any:
    return _batch_norm(input, weight, bias, None, None, training) if training else NotImplemented


_rules(_batch_norm, "native_batch_norm", "_native_batch_norm_legit")
_rules(_batch_norm_no_stats, "_native_batch_norm_legit.no_stats")


def _batch_norm_call(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
) -> Any:
    if running_mean is None and not training:
        return NotImplemented
    result = _batch_norm(input, weight, bias, running_mean, running_var, training)
    return result if result is NotImplemented else result[0]


_CALLS[F.batch_norm] = _batch_norm_call


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
    if not _plain(input) or not input.is_floating_point() or own != tuple(normalized) or not fits:
        return NotImplemented
    saved = (*input.shape[: input.dim() - len(normalized)], *[1] * len(normalized))
    return _new(input), _new(input, saved), _new(input, saved)


_rules(_layer_norm, "native_layer_norm")


def _layer_norm_call(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    result = _layer_norm(input, normalized_shape, weight, bias)
    return result if result is NotImplemented else result[0]


_CALLS[F.layer_norm] = _layer_norm_call


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


def _mean_call(input: Any, dim: Any = None, keepdim: bool = False, **more: Any) -> Any:
    dims = (dim,) if isinstance(dim, int) else dim
    return NotImplemented if more or not isinstance(dims, tuple | list) else _mean(input, dims, keepdim)


_calls(_mean_call, "mean")


def _pooled(input: Any, output_size: Any) -> Any:
    sizes = output_size if isinstance(output_size, tuple | list) else (output_size, output_size)
    if not _plain(input) or not input.is_floating_point() or input.dim() != 4:
        return NotImplemented
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        return NotImplemented
    return _new(input, (*input.shape[:2], *sizes)) if len(sizes) == 2 and input.numel() else NotImplemented


_calls(_pooled, "adaptive_avg_pool2d")


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


def _cat_call(tensors: Any, dim: Any = 0, **more: Any) -> Any:
    return NotImplemented if more or not isinstance(tensors, tuple | list) else _cat(tensors, dim)


_calls(_cat_call, "cat", "concat")


def _linear(input: Any, weight: Any, bias: Any = None) -> Any:
    if not _plain(input) or not _plain(weight) or weight.dim() != 2 or input.dim() < 2 or input.dtype != weight.dtype:
        return NotImplemented
    if input.shape[-1] != weight.shape[1] or not _vectors_fit(input, weight.shape[0], bias):
        return NotImplemented
    return _new(input, (*input.shape[:-1], weight.shape[0]))


_calls(_linear, "linear")


def _convolution(
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Any:
    if transposed or not _plain(input) or not _plain(weight) or input.dtype != weight.dtype:
        return NotImplemented
    positions = input.dim() - 2
    channels = weight.shape[0]
    if positions < 1 or weight.dim() != input.dim() or channels % groups or not _vectors_fit(input, channels, bias):
        return NotImplemented
    if input.shape[1] != weight.shape[1] * groups or not input.numel():
        return NotImplemented
    options = [_each(value, positions) for value in (stride, padding, dilation)]
    if any(len(values) != positions for values in options) or min(*options[0], *options[2]) < 1 or min(options[1]) < 0:
        return NotImplemented
    sizes = tuple(
        (size + 2 * pad - spacing * (kernel - 1) - 1) // step + 1
        for size, kernel, step, pad, spacing in zip(input.shape[2:], weight.shape[2:], *options, strict=True)
    )
    return _new(input, (input.shape[0], channels, *sizes)) if min(sizes) > 0 else NotImplemented


def _each(value: Any, positions: int) -> Sequence[int]:
    """A number for each position; none for a padding in words."""
    if isinstance(value, tuple | list):
        return value * positions if len(value) == 1 else value
    return (value,) * positions if isinstance(value, int) else ()


def _convolution_call(
    positions: int,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    if not isinstance(input, Tensor) or input.dim() != positions + 2:
        return NotImplemented
    return _convolution(input, weight, bias, stride, padding, dilation, False, 0, groups)


_rules(_convolution, "convolution")
for _positions in (1, 2, 3):
    _calls(partial(_convolution_call, _positions), f"conv{_positions}d")


def _convolution_backward(grad: Tensor, input: Tensor, weight: Tensor, bias: Any, *rest: Any) -> Any:
    if not all(_plain(tensor) for tensor in (grad, input, weight)) or (not bias and rest[-1][2]):
        return NotImplemented
    shapes = (input.shape, weight.shape, bias)
    return tuple(_new(input, shape) if wanted else None for shape, wanted in zip(shapes, rest[-1], strict=True))


_rules(_convolution_backward, "convolution_backward")
