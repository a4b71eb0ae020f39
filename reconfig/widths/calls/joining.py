"""Calls that join tensors and cut them: concats, stacks, splits, indexing."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from reconfig.widths.algebra import Extent, const, constant
from reconfig.widths.calls.table import named, table
from reconfig.widths.site import Site
from reconfig.widths.structure import Value


def concat(site: Site, tensors: Sequence[Value], dim: int = 0, **kwargs: Any) -> Value:
    tensors = [value for value in tensors if len(value.shape) == len(site.shape)]
    axis = kwargs.get("axis", dim) % len(site.shape)
    first = tensors[0]
    for other in tensors[1:]:
        for position, extent in enumerate(other.dims):
            if position != axis:
                site.tie(first.dims[position], extent)
    joined = tuple(term for value in tensors for term in site.widths.resolve(value.dims[axis]))
    return Value(site.shape, (*first.dims[:axis], joined, *first.dims[axis + 1 :]))


def stack(site: Site, tensors: Sequence[Value], dim: int = 0) -> Value:
    axis, first = dim % len(site.shape), tensors[0]
    for other in tensors[1:]:
        for ours, theirs in zip(first.dims, other.dims, strict=True):
            site.tie(ours, theirs)
    return Value(site.shape, (*first.dims[:axis], const(len(tensors)), *first.dims[axis:]))


def pieces(site: Site, input: Value, *args: Any, dim: int | None = None, **kwargs: Any) -> tuple[Value, ...]:
    axis = (dim if dim is not None else args[1] if len(args) > 1 else 0) % len(input.shape)
    cuts = site.widths.cut(input.dims[axis], [shape[axis] for shape in site.shape], site.reason)
    return tuple(
        Value(shape, (*input.dims[:axis], cut, *input.dims[axis + 1 :]))
        for shape, cut in zip(site.shape, cuts, strict=True)
    )


def unbind(site: Site, input: Value, dim: int = 0) -> tuple[Value, ...]:
    axis = dim % len(input.shape)
    site.freeze(input.dims[axis])
    return tuple(Value(shape, (*input.dims[:axis], *input.dims[axis + 1 :])) for shape in site.shape)


def narrow(site: Site, input: Value, dim: int, start: int, length: int) -> Value:
    index = [slice(None)] * (dim % len(input.shape)) + [slice(start, start + length)]
    return sliced(site, input, tuple(index))


def select(site: Site, input: Value, dim: int, index: int) -> Value:
    return sliced(site, input, (*[slice(None)] * (dim % len(input.shape)), index))


def item(site: Site, whole: Any, index: Any) -> Any:
    return sliced(site, whole, index) if isinstance(whole, Value) else whole[index]


def sliced(site: Site, input: Value, index: Any) -> Value:
    """Basic indexing cuts the indexed dimensions; indexing by tensors or lists freezes them."""
    indices = _spelled_out(index, len(input.shape))
    if any(not isinstance(i, slice | int | type(None)) or isinstance(i, bool) for i in indices):
        return _gathered(site, input, indices)
    dims: list[Extent] = []
    axis = 0
    for i in indices:
        if i is None:
            dims.append(const(1))
            continue
        if isinstance(i, slice):
            dims.append(_slice(site, input.dims[axis], input.shape[axis], i, site.shape[len(dims)]))
        else:
            site.freeze(input.dims[axis])
        axis += 1
    return Value(site.shape, (*dims, *input.dims[axis:]))


def _spelled_out(index: Any, rank: int) -> list[Any]:
    """An index with its ellipsis replaced by the slices that it stands for."""
    indices = list(index) if isinstance(index, tuple) else [index]
    position = next((n for n, i in enumerate(indices) if i is Ellipsis), None)
    if position is not None:
        taken = sum(i is not None and i is not Ellipsis for i in indices)
        indices[position : position + 1] = [slice(None)] * (rank - taken)
    return indices


def _slice(site: Site, extent: Extent, size: int, index: slice, length: int) -> Extent:
    if any(isinstance(bound, Value) for bound in (index.start, index.stop, index.step)):
        site.freeze(extent)
        return const(length)
    start, _, step = index.indices(size)
    if length == size:
        return extent
    if step > 1 and start < step and length * step == size:
        return site.divide(extent, step)
    if step != 1 or constant(extent):
        site.freeze(extent)
        return const(length)
    lengths = [start, length, size - start - length]
    cuts = site.widths.cut(extent, [piece for piece in lengths if piece], site.reason)
    return cuts[1 if start else 0]


def _gathered(site: Site, input: Value, indices: Sequence[Any]) -> Value:
    for axis, i in enumerate(indices[: len(input.dims)]):
        if i != slice(None):
            site.freeze(input.dims[axis])
    result: Value = site.constant()
    untouched = 0
    while untouched < len(indices) and indices[untouched] == slice(None):
        untouched += 1
    trailing = len(input.dims) - len(indices)
    dims = [*input.dims[:untouched], *result.dims[untouched:]]
    if trailing > 0:
        dims[-trailing:] = input.dims[-trailing:]
    return Value(site.shape, tuple(dims[: len(site.shape)]))


def assign(site: Site, target: Value, index: Any, source: Any) -> Value:
    if isinstance(source, Value) and len(source.shape) == len(target.shape):
        indices = _spelled_out(index, len(target.shape))
        for axis, extent in enumerate(source.dims):
            i = indices[axis] if axis < len(indices) else slice(None)
            if isinstance(i, slice) and source.shape[axis] > 1:
                site.tie(_slice(site, target.dims[axis], target.shape[axis], i, source.shape[axis]), extent)
    elif isinstance(source, Value):
        site.freeze(*source.dims, *target.dims)
    return target


JOINING = table(
    (concat, named("cat concat concatenate")),
    (stack, named("stack")),
    (pieces, named("chunk split tensor_split split_with_sizes unsafe_chunk unsafe_split")),
    (unbind, named("unbind")),
    (narrow, named("narrow")),
    (select, named("select")),
    (item, [operator.getitem]),
    (sliced, [Tensor.__getitem__]),
    (assign, [Tensor.__setitem__]),
)
