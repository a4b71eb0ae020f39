"""Calls whose output has the broadcast shape of their inputs, and those that reduce dimensions."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from reconfig.trace.leaves import leaves
from reconfig.trace.record import Shape
from reconfig.widths.algebra import const
from reconfig.widths.calls.table import named, table
from reconfig.widths.site import Site
from reconfig.widths.structure import Value


def elementwise(site: Site, *args: Any, **kwargs: Any) -> Value:
    """The broadcast of all tensors among the arguments; a dimension of 1 gives way, others are tied."""
    dims = list(site.constant().dims)
    claimed: set[int] = set()
    for value in leaves((args, kwargs), Value):
        offset = len(dims) - len(value.dims)
        for axis, extent in enumerate(value.dims, start=offset):
            if value.shape[axis - offset] == 1:
                continue
            if axis in claimed:
                site.tie(dims[axis], extent)
            dims[axis] = extent if axis not in claimed else dims[axis]
            claimed.add(axis)
    return Value(site.shape, tuple(dims))


def converted(site: Site, input: Value, *like: Any, **kwargs: Any) -> Value:
    """The tensor in another dtype or on another device: one that says which gives no dimension."""
    return input


def prelu(site: Site, input: Value, weight: Value) -> Value:
    if math.prod(weight.shape) > 1:
        site.adopt(weight.dims[0], input.dims[1])
        site.keep(num_parameters=input.dims[1])
    return input


def where(site: Site, condition: Value, *choices: Any, **kwargs: Any) -> Any:
    """A choice, entry by entry; of a condition alone, the positions at which it holds."""
    if choices or kwargs:
        return elementwise(site, condition, *choices, **kwargs)
    site.freeze(*condition.dims)
    return site.constant()


def axes_of(dim: Any, rank: int) -> list[int]:
    """The axes that an argument ``dim`` of torch names, counted from 0; all of them where it names none."""
    if dim is None or dim == ():
        return list(range(rank))
    return [axis % rank for axis in (dim if isinstance(dim, tuple | list) else (dim,))]


def reduction(site: Site, input: Value, *args: Any, **kwargs: Any) -> Any:
    """The reduced dimensions go; the others stay. Works for results that come in pairs too."""
    if any(isinstance(value, Value) for value in args):  # torch.max(a, b)
        return elementwise(site, input, *args)
    several = site.shape and isinstance(site.shape[0], tuple)
    shape: Shape = site.shape[0] if several else site.shape
    dims = kwargs.get("dim", kwargs.get("axis", next((a for a in args if not isinstance(a, bool | str | float)), None)))
    gone = axes_of(dims, len(input.shape))
    kept = len(shape) == len(input.shape)
    left = [const(1) if axis in gone else extent for axis, extent in enumerate(input.dims) if kept or axis not in gone]
    result = Value(shape, tuple(left))
    return tuple(result for _ in site.shape) if several else result


_ACTIVATIONS = """
relu relu_ relu6 leaky_relu leaky_relu_ elu elu_ selu selu_ celu gelu silu mish softplus sigmoid sigmoid_ tanh tanh_
hardtanh hardtanh_ hardswish hardsigmoid hardsigmoid_ logsigmoid softsign rrelu threshold
dropout dropout_ alpha_dropout feature_dropout feature_alpha_dropout dropout1d dropout2d dropout3d
softmax log_softmax normalize _weight_norm
"""
_ARITHMETIC = """
add add_ sub sub_ mul mul_ div div_ true_divide floor_divide pow pow_ rsub remainder fmod
__add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ __mul__ __rmul__ __imul__ __truediv__ __rtruediv__ __itruediv__
__pow__ __rpow__ __neg__ neg abs exp log log1p sqrt rsqrt square sign floor ceil round erf sin cos reciprocal
clamp clamp_ clip clamp_min clamp_max maximum minimum lerp addcmul addcdiv nan_to_num cumsum
"""
_COMPARISONS = """
__and__ __or__ __invert__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ lt le gt ge eq ne
logical_and logical_or logical_not isnan isinf masked_fill masked_fill_
"""
_SAME_SHAPE = """
clone contiguous detach detach_ float double half bfloat16 type cpu cuda requires_grad_ flip roll copy_
zeros_like ones_like empty_like rand_like randn_like full_like bernoulli bernoulli_ uniform_ normal_ fill_ zero_
"""
_REDUCTIONS = """
mean sum prod amax amin max min argmax argmin var std norm logsumexp median any all var_mean std_mean
"""
_PROPERTIES = [Tensor.data.__get__, Tensor.real.__get__]  # type: ignore[attr-defined]

ELEMENTWISE = table(
    (elementwise, [*named(_ACTIVATIONS + _ARITHMETIC + _COMPARISONS + _SAME_SHAPE), *_PROPERTIES]),
    (converted, named("to type_as")),
    (prelu, named("prelu")),
    (where, named("where")),
    (reduction, named(_REDUCTIONS)),
)
