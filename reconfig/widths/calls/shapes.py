"""Calls that see the same entries in another shape or order."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from reconfig.trace.leaves import leaves
from reconfig.widths.algebra import Extent, Part, Term, const
from reconfig.widths.calls.elementwise import axes_of, elementwise
from reconfig.widths.calls.table import named, table
from reconfig.widths.site import Site
from reconfig.widths.structure import Value


def reshape(site: Site, input: Value, *args: Any, **kwargs: Any) -> Value:
    """Dimensions are merged and split where their lengths say so; a length of 1 may come and go anywhere."""
    if args and isinstance(args[0], torch.dtype):
        return input
    own = [axis for axis, size in enumerate(input.shape) if size != 1]
    new = [axis for axis, size in enumerate(site.shape) if size != 1]
    dims: list[Extent] = [const(1)] * len(site.shape)
    while own and new:
        ins, outs = [own.pop(0)], [new.pop(0)]
        while (have := math.prod(input.shape[a] for a in ins)) != (want := math.prod(site.shape[a] for a in outs)):
            (ins if have < want else outs).append((own if have < want else new).pop(0))
        regrouped = _regroup(site, [input.dims[a] for a in ins], [site.shape[a] for a in outs])
        for axis, extent in zip(outs, regrouped, strict=True):
            dims[axis] = extent
    return Value(site.shape, tuple(dims))


def _regroup(site: Site, extents: list[Extent], sizes: list[int]) -> list[Extent]:
    merged = extents[0] if len(extents) == 1 else site.widths.multiply(extents)
    if merged is None:
        site.freeze(*extents)
        return [const(size) for size in sizes]
    merged = site.widths.resolve(merged)
    if len(sizes) == 1:
        return [merged]
    split = _split_term(site, merged[0], sizes) if len(merged) == 1 else _split_sum(site, merged, sizes)
    if split is None:
        site.freeze(merged)
        return [const(size) for size in sizes]
    return split


def _split_term(site: Site, term: Term, sizes: list[int]) -> list[Extent] | None:
    """Deal the factors of a product out to dimensions of these lengths.

    A width that has to be split (channels into groups and the rest) scales in its inner piece; the outer is a number.
    """
    queue = list(term)
    result: list[Extent] = []
    for size in sizes:
        piece: list[Any] = []
        missing = size
        while missing > 1:
            if not queue:
                return None
            factor = queue.pop(0)
            length = site.widths.size(((factor,),))
            if missing % length == 0:
                piece.append(factor)
                missing //= length
            elif length % missing == 0:
                piece.append(missing)
                if isinstance(factor, Part):
                    site.widths.divisible(((factor,),), missing)
                    queue.insert(0, Part(factor.width, factor.den * missing))
                else:
                    queue.insert(0, factor // missing)
                missing = 1
            else:
                return None
        result.append((tuple(piece),) if piece else const(1))
    return result if not any(site.widths.size(((factor,),)) > 1 for factor in queue) else None


def _split_sum(site: Site, extent: Extent, sizes: list[int]) -> list[Extent] | None:
    """A concat seen as (number of parts, part), or with constants (height, width) split off its inner side."""
    lengths = {site.widths.size((term,)) for term in extent}
    if len(sizes) == 2 and sizes[0] == len(extent) and len(lengths) == 1:
        for term in extent[1:]:
            site.tie((extent[0],), (term,))
        return [const(sizes[0]), site.widths.resolve((extent[0],))]
    inner = math.prod(sizes[1:])
    if all(isinstance(term[-1], int) and term[-1] % inner == 0 for term in extent):
        return [site.divide(extent, inner), *(const(size) for size in sizes[1:])]
    return None


def permute(site: Site, input: Value, *dims: Any, **kwargs: Any) -> Value:
    order = kwargs.get("dims", dims[0] if dims and isinstance(dims[0], tuple | list) else dims)
    return Value(site.shape, tuple(input.dims[axis] for axis in order))


def transpose(site: Site, input: Value, dim0: int, dim1: int) -> Value:
    dims = list(input.dims)
    dims[dim0], dims[dim1] = dims[dim1], dims[dim0]
    return Value(site.shape, tuple(dims))


def matrix_transpose(site: Site, input: Value) -> Value:
    return transpose(site, input, -1, -2) if len(input.shape) > 1 else input


def movedim(site: Site, input: Value, source: Any, destination: Any) -> Value:
    rank = len(input.shape)
    sources, destinations = axes_of(source, rank), axes_of(destination, rank)
    order = [axis for axis in range(rank) if axis not in sources]
    for destination_axis, source_axis in sorted(zip(destinations, sources, strict=True)):
        order.insert(destination_axis, source_axis)
    return Value(site.shape, tuple(input.dims[axis] for axis in order))


def squeeze(site: Site, input: Value, *args: Any, **kwargs: Any) -> Value:
    return reshape(site, input)


def expand(site: Site, input: Value, *args: Any, **kwargs: Any) -> Value:
    """The new lengths arrive as numbers, which may have been read from ``x.shape`` (see ``factory``)."""
    others = [value for value in leaves((args, kwargs), Value) if value.shape == site.shape]
    target = Value(site.shape, tuple(site.widths.loose(size) for size in site.shape))
    return elementwise(site, input, *others, target)


def repeat(site: Site, input: Value, *args: Any, **kwargs: Any) -> Value:
    """Like ``expand`` where a dimension of 1 is repeated; others keep how often they are."""
    new = len(site.shape) - len(input.shape)
    shape, extents = (1,) * new + input.shape, (const(1),) * new + input.dims
    dims = []
    for size, old, extent in zip(site.shape, shape, extents, strict=True):
        repeated = site.widths.loose(size) if old == 1 else site.widths.multiply([const(size // old), extent])
        dims.append(repeated if repeated is not None else const(size))
    return Value(site.shape, tuple(dims))


_TRANSPOSES = [Tensor.T.__get__, Tensor.mT.__get__]  # type: ignore[attr-defined]

SHAPES = table(
    (reshape, named("view reshape flatten unflatten reshape_as view_as ravel _unsafe_view")),
    (squeeze, named("squeeze unsqueeze squeeze_ unsqueeze_")),
    (permute, named("permute")),
    (transpose, named("transpose transpose_ swapaxes swapdims")),
    (matrix_transpose, [*named("t"), *_TRANSPOSES]),
    (movedim, named("movedim moveaxis")),
    (expand, named("expand expand_as broadcast_to")),
    (repeat, named("repeat tile")),
)
