"""Find the stages of a network, and to which of them each width belongs.

A stage is the run of layers at one resolution, relative to the input. Five decisions refine that (the reasons are in
Huang et al., NeurIPS 2021, and its published parameter counts):

* the stem keeps its width unless a residual ties it to the first stage: what comes before the first block, or the
  module that the author calls so (``stem``, ``patch_embed``). Before that block, convolutions at a resolution between
  the first one's and the block's are a stage of their own;
* a 1x1 convolution followed directly by an average pool commutes with it, so it belongs to the stage after the pool;
* a densely connected stage is scaled by what enters it;
* a block belongs whole to the stage that its output is in;
* the head (classifiers, auxiliary ones too) only follows its inputs.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from reconfig.capture import Capture
from reconfig.errors import ModelError, StageError
from reconfig.ops import Layer, Structure, Value, channels_of
from reconfig.skeleton import modules_of
from reconfig.widths import Extent, constant

_JOINS = {
    *(torch.add, torch.cat, torch.concat, torch.mul, torch.sub),
    *(Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__),
    *(Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__imul__, Tensor.__rmul__, Tensor.sub, Tensor.__sub__),
}
_AVERAGE_POOLS = {torch._C._nn.avg_pool2d, F.avg_pool2d, F.avg_pool1d, F.avg_pool3d}


@dataclass(frozen=True)
class Stage:
    """One stage as found.

    Attributes:
        index: 1 for the first.
        reduction: input size over this stage's size (a power of two; 1 is full resolution).
        resolution: positions, e.g. (height, width), at the stage's output.
        width: channels at the stage's output.
        blocks: module names of its blocks; a plain stage has none.
        layers: module names of the convolutions and linear maps that make its widths.
        dense: whether its output still holds, as terms of a concat, what entered it.
    """

    index: int
    reduction: int
    resolution: tuple[int, ...]
    width: int
    blocks: tuple[str, ...]
    layers: tuple[str, ...]
    dense: bool = False


@dataclass(frozen=True)
class Stages:
    """All stages of a model, first to last, with the layers that belong to none of them."""

    stages: tuple[Stage, ...]
    stem: tuple[str, ...] = ()
    head: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def __getitem__(self, index: int) -> Stage:
        return self.stages[index]

    def __str__(self) -> str:
        from reconfig.draw import stages_table

        return stages_table(self)


@dataclass(frozen=True)
class Placement:
    """Where each width belongs.

    Attributes:
        stages: the stages as shown to the user.
        stage_of: index (0 for the first) of the stage that scales a width; a width that is not here keeps its size.
        outputs: the extent of each stage's output channels.
        tied: later stages that have a width in common with the earlier one that scales it.
        growth: widths of densely connected stages that take gamma, but the stage's ratio only on demand.
    """

    stages: Stages
    stage_of: Mapping[int, int]
    outputs: tuple[Extent, ...]
    tied: Mapping[int, frozenset[int]]
    growth: frozenset[int]


@dataclass(frozen=True)
class _Unit:
    """A block in execution order: ``nodes[start:stop]`` of the capture, with the resolution of its output."""

    path: str
    start: int
    stop: int
    key: int


def place_widths(model: nn.Module, structure: Structure, by_hand: Mapping[str, int] | None = None) -> Placement:
    """Find the stages of ``model`` and assign its widths to them.

    Args:
        model: the skeleton that was captured.
        structure: what ``ops.propagate`` read from the captures.
        by_hand: stage numbers (1 for the first) by module name or pattern, in place of what would be found.

    Raises:
        ModelError: where the model has no convolution to scale.
        StageError: where ``by_hand`` names no module or leaves a gap.
    """
    view = _View(structure)
    if not any(layer.kernel for layer in structure.layers):
        raise ModelError(
            f"{type(model).__name__} has no convolution in its forward: reconfig scales the stages of "
            "convolutional networks"
        )
    stem = _named_stem(view)
    units = [unit for unit in _units(model, view) if unit.start >= stem]
    keys = _given_keys(model, view, by_hand) if by_hand else _found_keys(view, units, stem)
    return _placement(structure, view, units, keys)


# -- the graph, with areas ---------------------------------------------------------------------------------------------


class _View:
    """The first capture as stages see it: which nodes depend on the input, and how large their feature maps are."""

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.capture: Capture = structure.captures[0]
        self.nodes = self.capture.nodes
        self.index = {node: number for number, node in enumerate(self.nodes)}
        self.dynamic = self._dynamic()
        self.area = {node: self._area(structure.values[node]) for node in self.nodes}
        placeholder = next(node for node in self.nodes if node.op == "placeholder")
        self.input_shape = placeholder.meta["shape"][2:]
        self.below = self._below()
        self.layers = [layer for layer in structure.layers if layer.node in self.index]
        known = {layer.path for layer in self.layers}
        self.auxiliary = [
            layer for layer in structure.layers if layer.node not in self.index and layer.path not in known
        ]
        self.convolutions = {layer.index for layer in self.layers if layer.kernel}
        self._layer_areas = {layer.node: math.prod(layer.shape) for layer in self.layers}

    def _dynamic(self) -> set[fx.Node]:
        dynamic: set[fx.Node] = set()
        for node in self.nodes:
            given = node.op == "placeholder" and node.target != "constant"
            if given or any(source in dynamic for source in node.all_input_nodes):
                dynamic.add(node)
        return dynamic

    @staticmethod
    def _area(value: Any) -> int:
        if not isinstance(value, Value):
            return 1
        return math.prod(size for size, extent in zip(value.shape[1:], value.dims[1:], strict=True) if constant(extent))

    def _below(self) -> dict[fx.Node, int]:
        """The area of a node's feature map, or, for a pooled one, of the nearest map that it comes back to (a gate)."""
        below: dict[fx.Node, int] = {}
        for node in reversed(self.nodes):
            own = self.area[node] if node in self.dynamic else 1
            below[node] = own if own > 1 else max((below[user] for user in node.users if user in below), default=1)
        return below

    def key(self, area: int) -> int:
        """Resolution as the binary logarithm of the reduction; unpadded convolutions lose pixels, so it is rounded."""
        return round(math.log2(math.prod(self.input_shape) / area) / max(1, len(self.input_shape)))

    def key_of(self, node: fx.Node) -> int:
        return self.key(max(self._layer_areas.get(node, 1), self.below[node]))

    def is_head(self, layer: Layer) -> bool:
        """Nothing with positions follows, and the layer sees one, or all at once (a linear layer by another name)."""
        alone = math.prod(layer.shape) == 1 and self.below[layer.node] == 1
        sources = [node for node in layer.node.all_input_nodes if node in self.dynamic]
        return alone and any(layer.pointwise or math.prod(layer.kernel) == self.area[source] for source in sources)

    def joins(self) -> Iterator[tuple[int, fx.Node]]:
        """Nodes that bring two or more feature maps together."""
        for number, node in enumerate(self.nodes):
            if node.target in _JOINS and sum(source in self.dynamic for source in node.all_input_nodes) > 1:
                yield number, node


# -- blocks ------------------------------------------------------------------------------------------------------------


def _units(model: nn.Module, view: _View) -> list[_Unit]:
    """Blocks, outermost first found: modules of a class that joins feature maps, then what the other joins span."""
    modules = modules_of(model)
    joins = list(view.joins())
    classes = {type(modules[node.meta["path"]]) for _, node in joins if node.meta["path"]}
    candidates = [
        (call.path, call.start, call.stop)
        for call in view.capture.calls
        if call.path and type(modules[call.path]) in classes
    ]
    units = _outermost(view, candidates, [])
    if units:
        units = _outermost(view, _plain_blocks(modules, view, units[0].start), units)
    inside = _Intervals(units)
    open_joins = [(number, node) for number, node in joins if not inside.covers(number)]
    if open_joins:
        units = _outermost(view, _spans(view, open_joins), units)
    return units


def _plain_blocks(modules: Mapping[str, nn.Module], view: _View, start: int) -> list[tuple[str, int, int]]:
    """Modules of the model's own classes, after the first block, that hold several layers: a patch merging."""
    return [
        (call.path, call.start, call.stop)
        for call in view.capture.calls
        if call.start > start
        and not type(modules[call.path]).__module__.startswith("torch.")
        and sum(call.start <= layer.index < call.stop for layer in view.layers) > 1
    ]


def _outermost(view: _View, candidates: Sequence[tuple[str, int, int]], units: list[_Unit]) -> list[_Unit]:
    """The largest candidates that are one block each, none inside another, in execution order."""
    layers = sorted(layer.index for layer in view.layers if math.prod(layer.shape) > 1)  # a gate alone is no block
    accepted = list(units)
    covered = _Intervals(units)
    for path, start, stop in sorted(candidates, key=lambda item: (item[1], -item[2])):
        inner = layers[bisect_left(layers, start) : bisect_left(layers, stop)]
        if not inner or covered.touches(start, stop):
            continue
        key = _block_key(view, start, stop, inner)
        if key is not None:
            accepted.append(_Unit(path, start, stop, key))
            covered.add(accepted[-1])
    return sorted(accepted, key=lambda unit: unit.start)


class _Intervals:
    """Disjoint stretches of the capture, found by bisection."""

    def __init__(self, units: Sequence[_Unit]) -> None:
        self._starts = sorted(unit.start for unit in units)
        self._stops = sorted(unit.stop for unit in units)

    def add(self, unit: _Unit) -> None:
        insort(self._starts, unit.start)
        insort(self._stops, unit.stop)

    def covers(self, number: int) -> bool:
        return self.touches(number, number + 1)

    def touches(self, start: int, stop: int) -> bool:
        """Disjoint and sorted: as many have begun before ``stop`` as ended by ``start``, unless one reaches in."""
        return bisect_left(self._starts, stop) != bisect_right(self._stops, start)


def _block_key(view: _View, start: int, stop: int, layers: Sequence[int]) -> int | None:
    """The resolution of the block's output, if it is one block: it leaves at one resolution and works at most there.

    Besides the resolutions of its inputs and its output, convolutions may run in a side branch at a lower one, if they
    are few; one in between would mean that several stages are inside.
    """
    nodes = view.nodes[start:stop]
    outputs = [node for node in nodes if node in view.dynamic and view.area[node] > 1]
    if not outputs:
        return None
    key = view.key_of(outputs[-1])
    entering = {
        view.key_of(source)
        for node in nodes
        for source in node.all_input_nodes
        if source in view.dynamic and view.index[source] < start
    }
    leaving = {view.key_of(node) for node in outputs if any(view.index.get(user, 0) >= stop for user in node.users)}
    inner = [view.key_of(view.nodes[index]) for index in layers if index in view.convolutions]
    expected = {*entering, key}
    strays = [other for other in inner if other not in expected]
    between = any(min(expected) < other < max(expected) for other in strays)
    several = len(set(inner) & expected) > 2 or len(leaving - {key}) > 0
    return None if several or between or 2 * len(strays) > len(inner) else key


def _spans(view: _View, joins: Sequence[tuple[int, fx.Node]]) -> list[tuple[str, int, int]]:
    """What each join closes: everything after the last feature map that all of its inputs come from."""
    dominator: dict[int, int] = {}
    for number, node in enumerate(view.nodes):
        sources = [view.index[source] for source in node.all_input_nodes if source in view.dynamic]
        if not sources:
            dominator[number] = number
            continue
        common = sources[0]
        for source in sources[1:]:
            common = _meet(dominator, common, source)
        dominator[number] = common
    return [(node.meta["path"], dominator[number] + 1, number + 1) for number, node in joins]


def _meet(dominator: Mapping[int, int], left: int, right: int) -> int:
    while left != right:
        if left < right:
            left, right = right, left
        if dominator[left] == left:
            return right
        left = dominator[left]
    return left


# -- layers to stages --------------------------------------------------------------------------------------------------

_STEM, _HEAD = -1, -2
_STEM_NAMES = ("stem", "patch_embed")
HEAD = "the head"


def _named_stem(view: _View) -> int:
    """Where the module ends that is called a stem and sees the image first; 0 where there is none."""
    if not view.layers:
        return 0
    first = view.layers[0].index
    named = [call for call in view.capture.calls if call.path.rpartition(".")[2] in _STEM_NAMES]
    return next((call.stop for call in named if call.start <= first < call.stop), 0)


def _found_keys(view: _View, units: Sequence[_Unit], stem: int) -> dict[Layer, int]:
    """The resolution key of the stage of every layer; ``_STEM`` and ``_HEAD`` for those outside."""
    start = max(stem, _first_block(view, units))
    outer = view.key_of(view.layers[0].node)
    inner = units[0].key if units else outer
    keys: dict[Layer, int] = {}
    position = 0
    for layer in view.layers:
        while position < len(units) and units[position].stop <= layer.index:
            position += 1
        unit = units[position] if position < len(units) and units[position].start <= layer.index else None
        if view.is_head(layer):
            keys[layer] = _HEAD
        elif unit is not None:
            keys[layer] = unit.key
        elif layer.index < stem or (layer.index < start and not outer < view.key_of(layer.node) < inner):
            keys[layer] = _STEM
        else:
            keys[layer] = view.key_of(_commuted(view, layer))
    return keys


def _first_block(view: _View, units: Sequence[_Unit]) -> int:
    """Where the stem ends: at the first block, or at a module of several layers that stands where blocks stand.

    The latter is a block that happens to have no residual, such as the first of an EfficientNet (``blocks.0.0``).
    """
    if not units:
        return 0
    start = units[0].start
    places = {_place_in_tree(unit.path) for unit in units if "." in unit.path}
    for call in view.capture.calls:
        if call.start < start and _place_in_tree(call.path) in places:
            inside = [layer for layer in view.layers if call.start <= layer.index < call.stop]
            start = call.start if len(inside) > 1 else start
    return start


def _place_in_tree(path: str) -> tuple[str, int]:
    """The outermost container of a module, and how deep below it the module is."""
    return path.partition(".")[0], path.count(".")


def _commuted(view: _View, layer: Layer) -> fx.Node:
    """The node whose resolution counts for a layer: its average pool's, where nothing is between the two."""
    users = list(layer.node.users)
    pointwise = layer.kernel and math.prod(layer.kernel) == 1
    if pointwise and len(users) == 1 and users[0].target in _AVERAGE_POOLS and view.below[users[0]] > 1:
        return users[0]
    return layer.node


def _given_keys(model: nn.Module, view: _View, by_hand: Mapping[str, int]) -> dict[Layer, int]:
    names = [name for name, _ in model.named_modules() if name]
    numbers = sorted(set(by_hand.values()))
    if any(not isinstance(number, int) or isinstance(number, bool) for number in numbers) or numbers != list(
        range(1, len(numbers) + 1)
    ):
        raise StageError(
            f"stages={dict(by_hand)!r}: stage numbers must be 1, 2, ... without a gap, not {numbers}; "
            f"write e.g. {dict(zip(by_hand, range(1, len(by_hand) + 1), strict=False))!r}"
        )
    for pattern in by_hand:
        if not any(_matches(name, pattern) for name in names):
            top = ", ".join(name for name in names if "." not in name)
            raise StageError(f"stages: no module of {type(model).__name__} matches {pattern!r}; its modules are {top}")
    keys: dict[Layer, int] = {}
    for layer in view.layers:
        found = [number for pattern, number in by_hand.items() if _matches(layer.path, pattern)]
        keys[layer] = found[-1] if found else _HEAD if view.is_head(layer) else _STEM
    if set(numbers) - set(keys.values()):
        missing = sorted(set(numbers) - set(keys.values()))
        raise StageError(f"stages: no layer that runs in the forward matches the patterns of stage {missing[0]}")
    return keys


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern + ".") or any(fnmatchcase(name, known) for known in (pattern, pattern + ".*"))


# -- widths to stages --------------------------------------------------------------------------------------------------


def _placement(structure: Structure, view: _View, units: Sequence[_Unit], keys: Mapping[Layer, int]) -> Placement:
    order = sorted({key for key in keys.values() if key >= 0})
    if not order:
        raise ModelError("no layer with positions (height, width) was found besides stem and head: nothing to scale")
    number = {key: index for index, key in enumerate(order)}
    makers: dict[int, list[Layer]] = {}
    for layer in view.layers:
        if not layer.depthwise:
            for width in _widths_of(structure, layer.out):
                makers.setdefault(width, []).append(layer)
    stage_of: dict[int, int] = {}
    tied: dict[int, frozenset[int]] = {}
    for width, layers in makers.items():
        found = [number[keys[layer]] for layer in layers if keys[layer] >= 0]
        if found:
            stage_of[width] = min(found)
            tied[width] = frozenset(found) - {min(found)}
        elif any(keys[layer] == _HEAD for layer in layers):
            structure.widths.freeze(structure.widths.unit(width), HEAD)
    dense = _dense(structure, view, units, keys, number, makers)
    outputs = [_output(structure, view, [layer for layer in view.layers if keys[layer] == key]) for key in order]
    stages = tuple(
        _stage(structure, view, units, keys, key, index, index in dense, *outputs[index])
        for index, key in enumerate(order)
    )
    stem, head = (
        tuple(dict.fromkeys(layer.path for layer in view.layers if keys[layer] == kind)) for kind in (_STEM, _HEAD)
    )
    head += tuple(dict.fromkeys(layer.path for layer in view.auxiliary))
    for layer in view.auxiliary:
        structure.widths.freeze(layer.out, HEAD)
    growth = frozenset().union(*dense.values()) if dense else frozenset()
    return Placement(Stages(stages, stem, head), stage_of, tuple(extent for extent, _ in outputs), tied, growth)


def _widths_of(structure: Structure, extent: Extent) -> set[int]:
    return channels_of([structure.widths.resolve(extent)])


def _dense(
    structure: Structure,
    view: _View,
    units: Sequence[_Unit],
    keys: Mapping[Layer, int],
    number: Mapping[int, int],
    makers: Mapping[int, Sequence[Layer]],
) -> dict[int, frozenset[int]]:
    """Densely connected stages, with the widths that grow inside each."""
    intervals = _Intervals(units)
    inside = {layer: intervals.covers(layer.index) for layer in view.layers}
    dense: dict[int, frozenset[int]] = {}
    for consumer in view.layers:
        terms = structure.widths.resolve(consumer.input)
        if len(terms) < 2:
            continue
        grown, entered = set(), set()
        for width in channels_of([terms]):
            layers = makers.get(width, ())
            stages = {number[keys[layer]] for layer in layers if inside[layer] and keys[layer] >= 0}
            grown |= stages
            if layers and not any(inside[layer] for layer in layers):
                entered |= {number[keys[layer]] for layer in layers if keys[layer] >= 0}
                entered |= {0 for layer in layers if keys[layer] == _STEM}
        outside = keys[consumer] == _HEAD or number.get(keys[consumer]) not in grown
        for stage in grown & entered if outside else ():
            dense[stage] = frozenset(
                width
                for width, layers in makers.items()
                if any(inside[layer] and number.get(keys[layer]) == stage for layer in layers)
            )
    return dense


def _stage(
    structure: Structure,
    view: _View,
    units: Sequence[_Unit],
    keys: Mapping[Layer, int],
    key: int,
    index: int,
    dense: bool,
    channels: Extent,
    resolution: tuple[int, ...],
) -> Stage:
    layers = [layer for layer in view.layers if keys[layer] == key]
    found = [unit for unit in units if unit.path and any(unit.start <= layer.index < unit.stop for layer in layers)]
    paths = [path for unit in found for path in (_dense_layers(view, unit) if dense else (unit.path,))]
    blocks = tuple(dict.fromkeys(paths))
    positions = math.prod(view.input_shape) / max(1, math.prod(resolution))
    return Stage(
        index=index + 1,
        reduction=2 ** round(math.log2(positions) / max(1, len(view.input_shape))),
        resolution=resolution,
        width=structure.widths.size(channels),
        blocks=blocks,
        layers=tuple(dict.fromkeys(layer.path for layer in layers)),
        dense=dense,
    )


def _dense_layers(view: _View, unit: _Unit) -> list[str]:
    """The layers of a dense block, which are its stage's blocks; the unit itself where it is one layer."""
    inner = [
        call.path
        for call in view.capture.calls
        if unit.start <= call.start and call.stop <= unit.stop and call.path.rpartition(".")[0] == unit.path
    ]
    return inner if len(inner) > 1 and all(_has_layers(view, path) for path in inner) else [unit.path]


def _has_layers(view: _View, path: str) -> bool:
    return any(layer.path.startswith(path + ".") for layer in view.layers)


def _output(structure: Structure, view: _View, layers: Sequence[Layer]) -> tuple[Extent, tuple[int, ...]]:
    """Channels and positions where a stage ends: its last layer's feature map, followed until the next layer."""
    makers = {layer.node for layer in structure.layers}
    mapped = [layer for layer in layers if math.prod(layer.shape) > 1]  # not a gate
    node = (mapped or layers)[-1].node
    while True:
        following = [
            user
            for user in node.users
            if user in view.index and user not in makers and view.area[user] == view.area[node]
        ]
        if not following:
            break
        node = min(following, key=lambda user: view.index[user])
    value = structure.values[node]
    if not isinstance(value, Value):
        value = structure.values[layers[-1].node]
    dims = list(zip(value.shape[1:], value.dims[1:], strict=True))
    channels = next((extent for _, extent in dims if not constant(extent)), layers[-1].out)
    return channels, tuple(size for size, extent in dims if constant(extent))
