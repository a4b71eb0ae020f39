"""Calls that change positions and leave channels: pools, resizing, padding, pixels turned into channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F

from reconfig.trace.record import Shape
from reconfig.widths.algebra import Extent, const, constant
from reconfig.widths.calls.table import named, table
from reconfig.widths.site import Site
from reconfig.widths.structure import Value


def pooling(site: Site, input: Value, *args: Any, **kwargs: Any) -> Any:
    """Batch and channels stay, positions change."""

    def pooled(shape: Shape) -> Value:
        channel = 1 if len(shape) > 2 else 0
        return Value(shape, (*input.dims[: channel + 1], *(const(size) for size in shape[channel + 1 :])))

    if site.shape and isinstance(site.shape[0], tuple):
        return tuple(pooled(shape) for shape in site.shape)
    return pooled(site.shape)


def padding(site: Site, input: Value, pad: Sequence[int], *args: Any, **kwargs: Any) -> Value:
    dims = list(input.dims)
    for axis in range(len(pad) // 2):
        before, after = pad[2 * axis], pad[2 * axis + 1]
        position = len(dims) - 1 - axis
        if constant(dims[position]):
            dims[position] = const(site.shape[position])
        elif min(before, after) < 0:
            site.freeze(dims[position])
            dims[position] = const(site.shape[position])
        elif before or after:
            extra = [site.widths.fresh(size) if size else () for size in (before, after)]
            dims[position] = (*extra[0], *dims[position], *extra[1])
    return Value(site.shape, tuple(dims))


def pixel_shuffle(site: Site, input: Value, upscale_factor: int) -> Value:
    return _respaced(site, input, site.divide(input.dims[1], upscale_factor**2))


def pixel_unshuffle(site: Site, input: Value, downscale_factor: int) -> Value:
    channels = site.widths.multiply([input.dims[1], const(downscale_factor**2)])
    return _respaced(site, input, channels or const(site.shape[1]))


def _respaced(site: Site, input: Value, channels: Extent) -> Value:
    return Value(site.shape, (input.dims[0], channels, *(const(size) for size in site.shape[2:])))


def channel_shuffle(site: Site, input: Value, groups: int) -> Value:
    if len(site.widths.resolve(input.dims[1])) > 1:
        site.freeze(input.dims[1])  # the pieces of a concat lie scattered now
    site.widths.divisible(input.dims[1], groups)
    return input


_POOLS = " ".join(
    f"{kind}_pool{n}d" for kind in ("avg", "max", "adaptive_avg", "adaptive_max", "lp") for n in (1, 2, 3)
)
_OTHER_POOLS = "max_pool1d_with_indices max_pool2d_with_indices _adaptive_max_pool2d _max_pool2d"

SPATIAL = table(
    (pooling, named(f"{_POOLS} {_OTHER_POOLS} interpolate upsample grid_sample")),
    (padding, [F.pad]),
    (pixel_shuffle, named("pixel_shuffle")),
    (pixel_unshuffle, named("pixel_unshuffle")),
    (channel_shuffle, named("channel_shuffle native_channel_shuffle")),
)
