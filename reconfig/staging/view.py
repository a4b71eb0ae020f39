"""A captured forward as stages see it: which nodes depend on the input, and how large their feature maps are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, fx

from reconfig.trace.record import Capture, Shape
from reconfig.widths.algebra import Extent
from reconfig.widths.structure import Layer, Structure, Value

_JOINS = {
    *(torch.add, torch.cat, torch.concat, torch.mul, torch.sub),
    *(Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__),
    *(Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__imul__, Tensor.__rmul__, Tensor.sub, Tensor.__sub__),
}


class View:
    """The first capture as stages see it: which nodes depend on the input, and how large their feature maps are.

    Args:
        structure: the captures in widths.
        roomy: the first capture's calls, on an image large enough to tell stages apart.
    """

    def __init__(self, structure: Structure, roomy: Capture) -> None:
        self.structure = structure
        self.capture: Capture = structure.captures[0]
        self.nodes = self.capture.nodes
        self.index = {node: number for number, node in enumerate(self.nodes)}
        self.dynamic = self._dynamic()
        self._made = structure.widths_in(*(layer.out for layer in structure.layers))
        self._shapes = {node: same.meta["shape"] for node, same in zip(self.nodes, roomy.nodes, strict=True)}
        given = [node for node in roomy.nodes if node.op == "placeholder" and node.target != "constant"]
        image = max((node.meta["shape"] for node in given), key=len)  # others are times, classes or a context
        self.input_shape, self._batch = image[2:], image[:1]
        self._convolving = {layer.node for layer in structure.layers if layer.kernel}
        self.channel_axes = self._channel_axes()
        self._positions = {node: self._constant_sizes(node) for node in self.nodes}
        self.area = {node: math.prod(sizes[1:]) for node, sizes in self._positions.items()}
        self.below = self._below()
        weights = self._weights()
        self.layers = [layer for layer in structure.layers if layer.node in self.index and layer.node not in weights]
        self.makers = {layer.node for layer in self.layers}  # the calls that make channels
        known = {layer.path for layer in structure.layers if layer.node in self.index}
        self.auxiliary = [
            layer for layer in structure.layers if layer.node not in self.index and layer.path not in known
        ]
        self.convolutions = {layer.index for layer in self.layers if layer.kernel}
        self.layer_area = {layer.node: self._area_of(layer) for layer in self.layers}
        # A latent vector has no positions of its own: what is made of it has as many as its kernels.
        self._rank = len(self.input_shape) or max((len(layer.kernel) for layer in self.layers), default=1) or 1
        self._whole = max(math.prod(self.input_shape), self._first_area())

    def _dynamic(self) -> set[fx.Node]:
        dynamic: set[fx.Node] = set()
        for node in self.nodes:
            given = node.op == "placeholder" and node.target != "constant"
            if given or any(source in dynamic for source in node.all_input_nodes):
                dynamic.add(node)
        return dynamic

    def _weights(self) -> set[fx.Node]:
        """Nodes that lead to weights and biases of convolutions alone: mixtures of experts, and no maps."""
        input_of = {node: node.args[0] if node.args else node.kwargs["input"] for node in self._convolving}
        found: set[fx.Node] = set()
        for node in reversed(self.nodes):
            if node.users and all(user in found or input_of.get(user, node) is not node for user in node.users):
                found.add(node)
        return found

    def _channel_axes(self) -> dict[fx.Node, Sequence[int]]:
        """The dimensions of each node's map that are channels: those with a width that a layer makes.

        Where a convolution's channels never change, as where its weights depend on the input, all dimensions of its map
        and of the like are constant; the second one is no position.
        """
        found: dict[fx.Node, Sequence[int]] = {}
        unmade: set[fx.Node] = set()
        for node in self.nodes:
            value, shape = self.structure.values[node], self._shapes[node]
            dims = value.dims if isinstance(value, Value) else ()
            found[node] = [axis for axis, extent in enumerate(dims) if self._is_made(extent)]
            if found[node] or len(dims) != len(self.input_shape) + 2:
                continue
            alike = (self._shapes[source] for source in node.all_input_nodes if source in unmade)
            if node in self._convolving or any(shape[:2] == other[:2] or shape[2:] == other[2:] for other in alike):
                unmade.add(node)
                found[node] = [1]
        return found

    def _constant_sizes(self, node: fx.Node) -> Shape:
        """The batch and whatever else is no channel."""
        if not isinstance(self.structure.values[node], Value):
            return ()
        channels = self.channel_axes[node]
        return tuple(size for axis, size in enumerate(self._shapes[node]) if axis not in channels)

    def _is_made(self, extent: Extent) -> bool:
        """Whether a layer makes one of its widths: tokens that a parameter adds are positions, and no channels."""
        return bool(self.structure.widths_in(extent) & self._made)

    def _area_of(self, layer: Layer) -> int:
        """Positions of what a layer gives, as ``Layer.shape`` has them, on the larger image."""
        if not layer.kernel:
            return math.prod(self._shapes[layer.node][1:-1])
        return math.prod(self._positions[layer.node][-len(layer.shape) :]) if layer.shape else 1

    def _first_area(self) -> int:
        """Positions that the first layer sees: more than the input has where the forward enlarges it first."""
        if not self.layers or not len(self.layers[0].kernel) == len(self.input_shape) > 0:
            return 1
        first = self.layers[0]
        sources = [node for node in first.node.all_input_nodes if node in self.dynamic]
        return max((math.prod(self._shapes[node][-len(first.kernel) :]) for node in sources), default=1)

    def _below(self) -> dict[fx.Node, int]:
        """The area of a node's feature map, or, for a pooled one, of the nearest map that it comes back to (a gate)."""
        below: dict[fx.Node, int] = {}
        goes_on: set[fx.Node] = set()  # as channels, to a convolution or to where another map joins
        for node in reversed(self.nodes):
            own = self.area[node] if node in self.dynamic else 1
            used = [
                below[user]
                for user in node.users
                if user in below and (self.area[user] == 1 or user in goes_on or self._is_map_joined(user))
            ]
            below[node] = own if own > 1 else max(used, default=1)
            leads = any(user in goes_on or user in self._convolving or self._is_map_joined(user) for user in node.users)
            if leads and self.has_channels(node):
                goes_on.add(node)
        return below

    def _is_map_joined(self, node: fx.Node) -> bool:
        """Whether a call brings a map of its own size together with something else: numbers alone are no map."""
        if node not in self.dynamic or node.target not in _JOINS:
            return False
        sources = [source for source in node.all_input_nodes if source in self.dynamic]
        return len(sources) > 1 and any(self.area[source] == self.area[node] > 1 for source in sources)

    def has_channels(self, node: fx.Node) -> bool:
        """Whether a width is in a map: not in the mean over channels, of which a mask is made, nor in boxes."""
        value = self.structure.values[node]
        return isinstance(value, Value) and not all(self.structure.fixed(extent) for extent in value.dims)

    def is_map(self, node: fx.Node) -> bool:
        """Whether a node has channels at several positions; statistics of groups have none, boxes neither."""
        return self.area[node] > 1 and bool(self.channel_axes[node])

    def is_folded(self, node: fx.Node) -> bool:
        """Whether the images of the batch are folded into the channels of one, which a convolution then tells apart."""
        return self.is_map(node) and self._shapes[node][:1] < self._batch

    def level(self, area: int) -> int:
        """Resolution as the binary logarithm of the reduction, negative where the map is larger than the whole image.

        Unpadded convolutions lose pixels, so it is rounded.
        """
        return round(math.log2(self._whole / area) / self._rank)

    def level_of(self, node: fx.Node) -> int:
        """The level of a node's feature map, or of the map that a gate acts on."""
        return self.level(max(self.layer_area.get(node, 1), self.below[node]))

    def channels(self, node: fx.Node) -> int:
        """Channels of a node's feature map: the first of its dimensions that has a width in it, or the second."""
        value = self.structure.values[node]
        first = (
            size
            for size, extent in zip(value.shape[1:], value.dims[1:], strict=True)
            if not self.structure.fixed(extent)
        )
        return next(first, value.shape[1])

    def is_head(self, layer: Layer) -> bool:
        """Nothing with positions follows, and the layer sees one, or all at once (a linear layer by another name)."""
        alone = self.layer_area[layer.node] == 1 and self.below[layer.node] == 1
        sources = [node for node in layer.node.all_input_nodes if node in self.dynamic]
        return alone and any(layer.pointwise or math.prod(layer.kernel) == self.area[source] for source in sources)

    def joins(self) -> Iterator[tuple[int, fx.Node]]:
        """Nodes that bring two or more feature maps together."""
        for number, node in enumerate(self.nodes):
            if node.target in _JOINS and sum(source in self.dynamic for source in node.all_input_nodes) > 1:
                yield number, node
