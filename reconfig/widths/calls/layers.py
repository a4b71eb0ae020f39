"""Calls that make channels: convolutions and linear maps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from reconfig.widths.algebra import Extent, const, constant
from reconfig.widths.calls.table import table
from reconfig.widths.site import Site
from reconfig.widths.structure import Value


def convolution(
    site: Site,
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    channel = len(input.shape) - len(weight.shape) + 1
    incoming, out = input.dims[channel], weight.dims[0]
    for kernel in weight.dims[2:]:
        site.widths.pin(kernel)
    depthwise = groups > 1 and weight.shape[1] == 1
    if depthwise:
        # As many groups as channels: the channels, and so the groups, are the input's own.
        multiplied = site.widths.multiply([incoming, const(weight.shape[0] // input.shape[channel])])
        site.tie(out, multiplied or out)
        site.keep(groups=incoming)
        if constant(incoming) and multiplied:  # positions in the place of channels
            out = multiplied
    elif groups > 1 and weight.shape[0] == groups:
        # As many groups as channels made: each is made of a few neighbours.
        site.tie(out, site.divide(incoming, weight.shape[1]))
        site.widths.pin(weight.dims[1])
        site.read(axis=1)
        site.keep(groups=out)
    elif groups > 1 and (count := _groups_that_scale(site, incoming, weight)) is not None:
        # The width of a group stays, and there are as many as the channels that come in make.
        site.widths.pin(weight.dims[1])
        site.tie(out, site.widths.resolve(incoming))
        site.keep(groups=count)
    elif groups > 1:
        site.adopt(weight.dims[1], site.divide(incoming, groups))
        site.read(axis=1)
        site.widths.divisible(out, groups)
    else:
        site.adopt(weight.dims[1], incoming)
        site.read(axis=1)
    return _layer(site, input, weight, bias, channel, out, depthwise)


def _groups_that_scale(site: Site, incoming: Extent, weight: Value) -> Extent | None:
    """The number of groups of a grouped convolution, where it is the width of a group that stays."""
    grouping, path = site.draft.grouping, site.node.meta["path"]
    if grouping is None or grouping.kept == "groups" or path in grouping.others:
        return None
    found = site.widths.runs(incoming, weight.shape[1])
    if found is None:
        site.draft.grouping = replace(grouping, others=(*grouping.others, path))
    return found


def transposed_convolution(
    site: Site,
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    channel = len(input.shape) - len(weight.shape) + 1
    for kernel in weight.dims[2:]:
        site.widths.pin(kernel)
    incoming = input.dims[channel]
    site.adopt(weight.dims[0], incoming)
    site.read(axis=0)
    depthwise = groups > 1 and groups == input.shape[channel]
    if depthwise:
        # As many groups as channels: they are the input's own.
        site.keep(groups=incoming)
        out = site.widths.multiply([incoming, weight.dims[1]])
    else:
        site.widths.divisible(incoming, groups)
        out = site.widths.multiply([const(groups), weight.dims[1]])
    return _layer(site, input, weight, bias, channel, out or const(groups * weight.shape[1]), depthwise)


def _layer(
    site: Site, input: Value, weight: Value, bias: Value | None, channel: int, out: Extent, depthwise: bool
) -> Value:
    if bias is not None:
        site.adopt(bias.dims[0], out)
    site.keep(in_channels=input.dims[channel], out_channels=out, in_features=input.dims[channel], out_features=out)
    # A position that keeps its length passes through: convolutions may run along channels (ECA).
    dims = [
        extent if len(input.shape) == len(site.shape) and input.shape[axis] == size else const(size)
        for axis, (size, extent) in enumerate(zip(site.shape, input.dims, strict=True))
    ]
    dims[channel] = out
    along = [axis for axis in range(channel, len(dims)) if constant(dims[axis])]
    if len(along) == len(dims) - channel:
        along.remove(channel)  # no channels lie elsewhere: these are the ones, though they never change
    positions = tuple(site.shape[axis] for axis in along)
    site.layer(out, input.dims[channel], positions, depthwise, weight.shape[2:])
    return Value(site.shape, tuple(dims))


def linear(site: Site, input: Value, weight: Value, bias: Value | None = None) -> Value:
    last = len(input.shape) - 1
    site.adopt(weight.dims[1], input.dims[last])
    site.read(axis=1)
    out = weight.dims[0]
    if bias is not None:
        site.adopt(bias.dims[0], out)
    site.keep(in_features=input.dims[last], out_features=out)
    site.layer(out, input.dims[last], input.shape[1:last])
    return Value(site.shape, (*input.dims[:last], out))


LAYERS = table(
    (convolution, [torch.conv1d, torch.conv2d, torch.conv3d]),
    (transposed_convolution, [torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d]),
    (linear, [F.linear]),
)
