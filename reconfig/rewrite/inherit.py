"""Weights carried over: the most important channels where a width shrinks, copies of channels where it grows.

A width whose channels are used in equal parts (groups, halves, heads) is shrunk and grown alike in every part, so that
all who share it agree. Shrinking keeps the channels of the largest L2 norm over everything that belongs to them.
Growing repeats channels and divides what reads them by the number of copies, which preserves the function
(Chen, Goodfellow & Shlens, "Net2Net", ICLR 2016, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from reconfig.rewrite.depth import DepthEdit, origin
from reconfig.trace.skeleton import tensors_by_name
from reconfig.widths.algebra import Dims, Extent, Part, Term


@dataclass(frozen=True)
class Resized:
    """A width that changes: channels before and after, and the number of equal parts that change alike."""

    old: int
    new: int
    parts: int


@dataclass(frozen=True)
class Channels:
    """Which channels make up the dimensions of the parameters and buffers that change.

    Attributes:
        widths: the widths that change, by number.
        dims: the dimensions of each tensor, in all widths; those not in ``widths`` are ``sizes`` long.
        sizes: channel counts of the widths that stay.
        reads: (parameter, axis) where a layer sums over channels.
        gains: parameters that scale a weight which is standardised over these channels; copies leave such a weight as
            it is, so that its gain is divided.
    """

    widths: Mapping[int, Resized] = field(default_factory=dict)
    dims: Mapping[str, Dims] = field(default_factory=dict)
    sizes: Mapping[int, int] = field(default_factory=dict)
    reads: tuple[tuple[str, int], ...] = ()
    gains: Mapping[str, Extent] = field(default_factory=dict)


def inherit(original: nn.Module, edits: Sequence[DepthEdit], channels: Channels) -> Callable[[str, Tensor], Tensor]:
    """A function that makes the tensor of a name out of the original's."""
    tensors = tensors_by_name(original)
    parameters = {
        name: tensors[origin(name, edits)].detach() for name in channels.dims if _is_parameter(tensors, name, edits)
    }
    sources = {width: _sources(width, channels, parameters) for width in channels.widths}
    reads = set(channels.reads)

    def fill(name: str, shape: Tensor) -> Tensor:
        new = tensors[origin(name, edits)].detach()
        for axis, extent in enumerate(channels.dims.get(name, ())):
            positions, copies = _positions(extent, channels, sources)
            new = new.index_select(axis, positions.to(new.device))
            if (name, axis) in reads:
                view = [-1 if other == axis else 1 for other in range(new.dim())]
                new = new / copies.to(new).view(view)
        if name in channels.gains:
            _, copies = _positions(channels.gains[name], channels, sources)
            new = new / copies[0] if bool((copies == copies[0]).all()) else new
        return new.clone()

    return fill


def _is_parameter(tensors: Mapping[str, Tensor], name: str, edits: Sequence[DepthEdit]) -> bool:
    return isinstance(tensors[origin(name, edits)], nn.Parameter)


def _sources(width: int, channels: Channels, parameters: Mapping[str, Tensor]) -> Tensor:
    """For each channel of one part of the new width, the channel of the old part that it comes from."""
    resized = channels.widths[width]
    old, new = resized.old // resized.parts, resized.new // resized.parts
    if new >= old:
        return torch.arange(new) % old
    importance = torch.zeros(old, dtype=torch.float64)
    for name, tensor in parameters.items():
        for axis, extent in enumerate(channels.dims[name]):
            owners = _owners(extent, width, channels)
            if owners is not None:
                others = [other for other in range(tensor.dim()) if other != axis]
                energy = tensor.double().square().sum(others) if others else tensor.double().square()
                mine = owners >= 0
                importance.index_add_(0, owners[mine] % old, energy.cpu()[mine])
    return importance.topk(new).indices.sort().values


def _owners(extent: Extent, width: int, channels: Channels) -> Tensor | None:
    """The channel of ``width`` that each old position belongs to, -1 for others; None where it is not in the extent."""
    if not any(isinstance(factor, Part) and factor.width == width for term in extent for factor in term):
        return None
    return torch.cat([_term_owners(term, width, channels) for term in extent])


def _term_owners(term: Term, width: int, channels: Channels) -> Tensor:
    owners = torch.full((1,), -1)
    for factor in term:
        length = _length(factor, channels)
        if isinstance(factor, Part) and factor.width == width:
            owners = torch.arange(length).repeat(len(owners))
        else:
            owners = owners.repeat_interleave(length)
    return owners


def _length(factor: int | Part, channels: Channels) -> int:
    """How many old positions a factor spans."""
    if isinstance(factor, int):
        return factor
    resized = channels.widths.get(factor.width)
    return (resized.old if resized else channels.sizes[factor.width]) // factor.den


def _positions(extent: Extent, channels: Channels, sources: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
    """For each new position of a dimension, the old one that it comes from, and how many come from that one."""
    positions, copies, offset = [], [], 0
    for term in extent:
        index, count, length = torch.zeros(1, dtype=torch.long), torch.ones(1), 1
        for own, own_count, own_length in (_factor(factor, channels, sources) for factor in term):
            index = (index[:, None] * own_length + own).flatten()
            count = (count[:, None] * own_count).flatten()
            length *= own_length
        positions.append(index + offset)
        copies.append(count)
        offset += length
    return torch.cat(positions), torch.cat(copies)


def _factor(factor: int | Part, channels: Channels, sources: Mapping[int, Tensor]) -> tuple[Tensor, Tensor, int]:
    """Old positions, numbers of copies and the old length of one factor."""
    length = _length(factor, channels)
    if isinstance(factor, int) or factor.width not in channels.widths:
        return torch.arange(length), torch.ones(length), length
    resized = channels.widths[factor.width]
    cell, source = resized.old // resized.parts, sources[factor.width]
    repeats = resized.parts // factor.den
    counts = torch.bincount(source, minlength=cell)[source].float()
    index = (torch.arange(repeats)[:, None] * cell + source).flatten()
    return index, counts.repeat(repeats), length
