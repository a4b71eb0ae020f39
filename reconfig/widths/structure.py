"""What a forward pass is in widths: the data that stages, plans and weights are made from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from reconfig.trace.leaves import leaves
from reconfig.trace.record import Capture, Shape
from reconfig.widths.algebra import Dims, Extent, constant, number, parts
from reconfig.widths.grouping import Grouping
from reconfig.widths.solver import Widths

Sizes = Mapping[int, int]
"""Width -> channels, for every width that nothing else determines."""


@dataclass(frozen=True)
class Value:
    """A tensor as far as widths are concerned: its shape, and what each dimension is made of."""

    shape: Shape
    dims: Dims


@dataclass(frozen=True)
class Layer:
    """A call that makes new channels: a convolution, or a linear map with its weight. Stages are made of them.

    Attributes:
        node: the call.
        path: module name of the module whose forward makes it.
        index: its position among the nodes of its capture.
        out: the channels that it makes.
        input: the channels that it reads.
        shape: positions of its output, e.g. (height, width); () after global pooling.
        depthwise: whether the channels are not new but the input's own, as many groups as channels.
        kernel: positions of its kernel, e.g. (3, 3); () for a linear map.
    """

    node: fx.Node
    path: str
    index: int
    out: Extent
    input: Extent
    shape: Shape
    depthwise: bool
    kernel: Shape

    @property
    def pointwise(self) -> bool:
        """Whether it sees one position at a time."""
        return math.prod(self.kernel) == 1


@dataclass(frozen=True)
class Attribute:
    """An integer that a module keeps about a width, such as ``num_features``. Surgery lets it follow.

    Attributes:
        path: module name of the module that keeps it.
        name: the attribute's name.
        extent: what it is the length of.
    """

    path: str
    name: str
    extent: Extent


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of one call: ``factor`` times the product of the extents, as fvcore counts them.

    ``once`` for what does not depend on the input (a weight being standardised), however many examples there are.
    """

    factor: int
    once: bool
    extents: tuple[Extent, ...]


@dataclass(frozen=True)
class Structure:
    """The captures of one model, read in widths.

    Attributes:
        captures: the forward in eval mode and, where a part runs in training only, the one in training mode.
        widths: all widths and the equations between them.
        params: the dimensions of every parameter and buffer, by its first name.
        grouping: what its grouped convolutions keep; None where it has none.
        values: what every node of the captures gives: a ``Value``, or a nested tuple of them.
        layers: the calls that make channels, in execution order, capture after capture.
        attributes: the numbers that modules keep about widths.
        costs: multiply-adds of the first capture, call by call, for its whole batch.
        reads: (parameter, axis) where a call sums over channels, which is where copies of channels are divided.
        gains: parameters that scale a weight standardised over these channels, which are divided in its place.
    """

    captures: tuple[Capture, ...]
    widths: Widths
    params: Mapping[str, Dims]
    grouping: Grouping | None
    values: Mapping[fx.Node, Any]
    layers: tuple[Layer, ...]
    attributes: tuple[Attribute, ...]
    costs: tuple[Cost, ...]
    reads: tuple[tuple[str, int], ...]
    gains: Mapping[str, Extent]

    def widths_in(self, *extents: Extent) -> set[int]:
        """The widths of which these extents are made, all that is bound resolved."""
        return widths_of([self.widths.resolve(extent) for extent in extents])

    def fixed(self, extent: Extent) -> bool:
        """Whether no width is in it, all that is bound resolved."""
        return constant(extent) or constant(self.widths.resolve(extent))

    def own_sizes(self) -> dict[int, int]:
        """Channels of every free width as the model is."""
        return {width: self.widths.sizes[width] for width in self.widths.free()}

    def channels_per_width(self) -> dict[int, int]:
        """How many channels each one of a width stands for: more than 1 where whole groups come and go."""
        found: dict[int, int] = {}
        for layer in self.layers:
            for term in self.widths.resolve(layer.out):
                for part in parts((term,)):
                    found[part.width] = math.gcd(found.get(part.width, 0), number(term))
        return found

    def values_at(self, node: fx.Node) -> Iterator[Value]:
        """What a node gives and what it takes."""
        yield from leaves([self.values[node], *(self.values[source] for source in node.all_input_nodes)], Value)


def widths_of(extents: Sequence[Extent]) -> set[int]:
    """The widths that stand in these extents."""
    return {part.width for extent in extents for part in parts(extent)}
