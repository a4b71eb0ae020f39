"""From the levels of layers to stages, and to the stage that scales each width."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from torch import fx, nn

from reconfig.errors import ModelError
from reconfig.staging.blocks import find_blocks
from reconfig.staging.levels import Levels, Outside, found_levels, given_levels, in_order, named_stem
from reconfig.staging.stages import Stage, Stages
from reconfig.staging.units import Block, Stretches
from reconfig.staging.view import View
from reconfig.trace.record import Capture
from reconfig.widths.algebra import Extent, single_width
from reconfig.widths.structure import Layer, Structure, Value

Makers = Mapping[int, Sequence[Layer]]
"""Width -> the layers whose output has it."""


@dataclass(frozen=True)
class Placement:
    """Where each width belongs.

    Attributes:
        stages: the stages as shown to the user.
        stage_of: index (0 for the first) of the stage that scales a width; a width that is not here keeps its size.
        outputs: the extent of each stage's output channels.
        tied: later stages that have a width in common with the earlier one that scales it.
        growth: widths of densely connected stages that take gamma, but the stage's ratio only on demand.
        head: widths that nothing but a classifier makes; no rule asks to scale them.
    """

    stages: Stages
    stage_of: Mapping[int, int]
    outputs: tuple[Extent, ...]
    tied: Mapping[int, frozenset[int]]
    growth: frozenset[int]
    head: frozenset[int]


def place_widths(
    model: nn.Module, structure: Structure, roomy: Capture, by_hand: Mapping[str, int] | None = None
) -> Placement:
    """Find the stages of ``model`` and assign its widths to them.

    Args:
        model: the skeleton that was captured.
        structure: what ``propagate`` read from the captures.
        roomy: the calls of its first capture, on an image large enough to tell stages apart (``Probe.roomy``).
        by_hand: stage numbers (1 for the first) by module name or pattern, in place of what would be found.

    Raises:
        ModelError: where the model has no convolution to scale.
        StageError: where ``by_hand`` names no module or leaves a gap.
    """
    view = View(structure, roomy)
    if not any(layer.kernel for layer in structure.layers):
        raise ModelError(
            f"{type(model).__name__} has no convolution in its forward: reconfig scales the stages of "
            "convolutional networks"
        )
    stem = named_stem(view)
    blocks = [block for block in find_blocks(model, view) if block.start >= stem]
    found = given_levels(model, view, by_hand) if by_hand else found_levels(view, blocks, stem)
    return _placement(structure, view, blocks, found, found if by_hand else _with_own_widths(structure, found))


@dataclass(frozen=True)
class _Output:
    """What a stage gives: its channels, its positions, and the input's size over that."""

    channels: Extent
    resolution: tuple[int, ...]
    reduction: float


def _placement(structure: Structure, view: View, blocks: Sequence[Block], found: Levels, levels: Levels) -> Placement:
    """The placement by ``levels``; layers that were ``found`` at others do not tell what a stage gives."""
    moved = {layer for layer, level in levels.items() if level != found[layer]}
    order = _in_order(levels)
    if not order:
        raise ModelError("no layer with positions (height, width) was found besides stem and head: nothing to scale")
    number = {layer: order.index(level) for layer, level in levels.items() if not isinstance(level, Outside)}
    makers = _makers(structure, view)
    staged = {
        width: {number[layer] for layer in layers if layer in number}
        for width, layers in makers.items()
        if any(layer in number for layer in layers)
    }
    stage_of = {width: min(found) for width, found in staged.items()}
    stem, head = (
        dict.fromkeys(layer for layer in view.layers if levels[layer] is outside)
        for outside in (Outside.STEM, Outside.HEAD)
    )
    only_head = {width for width in makers.keys() - staged.keys() if not head.keys().isdisjoint(makers[width])}
    dense = _dense(structure, view, blocks, number, stem, makers)
    members = [[layer for layer in view.layers if number.get(layer) == index] for index in range(len(order))]
    risen = _risen(view, blocks)
    followed = _followed(view, risen)
    beside = _ends(view, blocks) | _laterals(view, followed, risen)
    decoding = [_decoding(view, blocks, layers, risen) for layers in members]
    outputs = []
    for index, (layers, later) in enumerate(zip(members, decoding, strict=True)):
        own = set(layers) - later - moved or set(layers)
        trunk = _trunk(structure, view, own - beside or own, stage_of, index, order)
        outputs.append(_output(structure, view, blocks, trunk, followed))
    stages = tuple(
        _stage(structure, view, blocks, layers, decoding[index], index, index in dense, outputs[index])
        for index, layers in enumerate(members)
    )
    return Placement(
        stages=Stages(stages, _paths(stem), _paths([*head, *view.auxiliary])),
        stage_of=stage_of,
        outputs=tuple(output.channels for output in outputs),
        tied={width: frozenset(found - {min(found)}) for width, found in staged.items()},
        growth=frozenset().union(*dense.values()),
        # What an auxiliary head gives back to a stage's width (an autoencoder's branch) is the stage's.
        head=frozenset(only_head | structure.widths_in(*(layer.out for layer in view.auxiliary)) - staged.keys()),
    )


def _in_order(levels: Levels) -> list[int]:
    """The levels of the stages, first to last."""
    found = {level for level in levels.values() if not isinstance(level, Outside)}
    return sorted(found, key=in_order)


def _with_own_widths(structure: Structure, levels: Levels) -> Levels:
    """Last stages that make no width of their own, as maps that a pyramid ends in, belong where their widths do."""
    made: dict[int, set[int]] = {}
    for layer, level in levels.items():
        if not isinstance(level, Outside) and not layer.depthwise:
            made.setdefault(level, set()).update(structure.widths_in(layer.out))
    moved: dict[int, int] = {}
    *order, last = _in_order(levels) or [0]
    while order and made.get(last, set()) <= set().union(*(made.get(level, set()) for level in order)):
        moved[last] = next((level for level in order if made.get(level, set()) & made.get(last, set())), order[-1])
        last = order.pop()
    return {
        layer: moved.get(level, level) if not isinstance(level, Outside) else level for layer, level in levels.items()
    }


def _trunk(
    structure: Structure,
    view: View,
    layers: Set[Layer],
    stage_of: Mapping[int, int],
    index: int,
    order: Sequence[int],
) -> list[Layer]:
    """A stage's layers, but for those that run at other resolutions too and those of a width of an earlier stage.

    All of them where none is left. The former are heads over a pyramid, the pyramid's own layers have the width of its
    first map.
    """
    found = [layer for layer in view.layers if layer in layers]
    elsewhere = {layer.path for layer in found if view.level_of(layer.node) != order[index]}
    runs = Counter(layer.path for layer in found)
    here = [layer for layer in found if runs[layer.path] == 1 or layer.path not in elsewhere] or found

    def scaled_by(layer: Layer) -> int:
        width = single_width(structure.widths.resolve(layer.out))
        return index if width is None else stage_of.get(width, index)

    return [layer for layer in here if scaled_by(layer) == index] or here


def _makers(structure: Structure, view: View) -> dict[int, list[Layer]]:
    makers: dict[int, list[Layer]] = {}
    for layer in view.layers:
        if not layer.depthwise:
            for width in structure.widths_in(layer.out):
                makers.setdefault(width, []).append(layer)
    return makers


def _paths(layers: Sequence[Layer] | Mapping[Layer, None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layer.path for layer in layers))


def _dense(
    structure: Structure,
    view: View,
    blocks: Sequence[Block],
    number: Mapping[Layer, int],
    stem: Mapping[Layer, None],
    makers: Makers,
) -> dict[int, frozenset[int]]:
    """Densely connected stages, with the widths that grow inside each.

    Layers inside read what others inside have made beside what entered: a skip around a block alone makes none dense.
    """
    stretches = Stretches(blocks)
    inside = {layer: stretches.covers(layer.index) for layer in view.layers}
    dense: dict[int, frozenset[int]] = {}
    growing: set[int] = set()
    for consumer in view.layers:
        if len(structure.widths.resolve(consumer.input)) < 2:
            continue
        grown, entered = set(), set()
        for width in structure.widths_in(consumer.input):
            layers = makers.get(width, ())
            grown |= {number[layer] for layer in layers if inside[layer] and layer in number}
            if layers and not any(inside[layer] for layer in layers):
                entered |= {number[layer] for layer in layers if layer in number}
                entered |= {0 for layer in layers if layer in stem}
        outside = number.get(consumer) not in grown
        growing |= grown & {number.get(consumer)} if inside[consumer] else set()
        for stage in grown & entered & growing if outside else ():
            dense[stage] = frozenset(
                width
                for width, layers in makers.items()
                if any(inside[layer] and number.get(layer) == stage for layer in layers)
            )
    return dense


def _stage(
    structure: Structure,
    view: View,
    blocks: Sequence[Block],
    layers: Sequence[Layer],
    decoding: Set[Layer],
    index: int,
    dense: bool,
    output: _Output,
) -> Stage:
    found = {block: _within(block, layers) for block in blocks if block.path and _within(block, layers)}
    decoders = [block for block, inner in found.items() if decoding >= set(inner)]
    encoders = [block for block in found if block not in decoders]
    paths = [path for block in encoders for path in (_dense_layers(view, block) if dense else (block.path,))]
    plain = [layer.path for layer in layers if layer in decoding and not any(layer in found[b] for b in decoders)]
    return Stage(
        index=index + 1,
        reduction=output.reduction,
        resolution=output.resolution,
        width=structure.widths.size(output.channels),
        blocks=tuple(dict.fromkeys(paths)),
        layers=_paths(layers),
        dense=dense,
        decoder=tuple(dict.fromkeys([*(block.path for block in decoders), *plain])),
    )


def _within(block: Block, layers: Sequence[Layer]) -> list[Layer]:
    return [layer for layer in layers if block.start <= layer.index < block.stop]


def _ends(view: View, blocks: Sequence[Block]) -> Set[Layer]:
    """Layers that lead to no other and to no block's output: they make an output of the model, and are no trunk."""
    given = {view.nodes[block.stop - 1] for block in blocks}
    leading = _leading(view, view.makers | given)
    return {layer for layer in view.layers if layer.node not in leading | given}


def _leading(view: View, goals: Set[fx.Node]) -> Set[fx.Node]:
    """Nodes that lead to one of ``goals``."""
    leading: set[fx.Node] = set()
    for node in reversed(view.nodes):
        if any(user in goals or user in leading for user in node.users):
            leading.add(node)
    return leading


def _followed(view: View, risen: Set[fx.Node]) -> Mapping[fx.Node, fx.Node]:
    """What becomes of each node's map, at its resolution, before a layer reads it."""
    found: dict[fx.Node, fx.Node] = {}
    for node in reversed(view.nodes):
        following = [
            user
            for user in node.users
            if user in found
            and user not in view.makers
            and view.area[user] == view.area[node]
            and (user in risen) == (node in risen)
            and (view.has_channels(user) or not view.has_channels(node))
        ]
        end = found[min(following, key=lambda user: view.index[user])] if following else node
        found[node] = node if view.is_folded(end) and not view.is_folded(node) else end
    return found


def _laterals(view: View, followed: Mapping[fx.Node, fx.Node], risen: Set[fx.Node]) -> Set[Layer]:
    """Layers whose map is only read where a pyramid or a decoder comes back to its resolution and joins it."""
    joins = {node for _, node in view.joins()} & risen - view.makers

    def is_joined(node: fx.Node) -> bool:
        users = [user for user in node.users if user in view.index]
        return bool(users) and all(user in joins and view.area[user] == view.area[node] for user in users)

    return {layer for layer in view.layers if is_joined(followed[layer.node])}


def _risen(view: View, blocks: Sequence[Block]) -> Set[fx.Node]:
    """Nodes that depend on maps of a lower resolution than their own, and lead to none.

    What a block does within is its own affair. Streams that exchange maps up and down, as HRNet's, rise to no end.
    """
    level_of = {view.nodes[index]: block.level for block in blocks for index in range(block.start, block.stop)}
    feeding = view.makers | _leading(view, view.makers)  # what a detector does with its boxes has no resolution
    mapped = [node for node in view.nodes if node in view.dynamic and node in feeding and view.is_map(node)]
    own = {node: level_of.get(node, view.level_of(node)) for node in mapped}
    before = _lowest(own, view.nodes, lambda node: node.all_input_nodes)
    after = _lowest(own, view.nodes[::-1], lambda node: node.users)
    return {node for node, level in own.items() if before[node] > level >= after[node]}


def _lowest(
    own: Mapping[fx.Node, int], nodes: Sequence[fx.Node], nearer: Callable[[fx.Node], Iterable[fx.Node]]
) -> Mapping[fx.Node, int]:
    """The lowest resolution of each node and of all that can be reached by ``nearer``."""
    lowest: dict[fx.Node, int] = {}
    for node in nodes:
        found = [lowest[other] for other in nearer(node) if other in lowest]
        if node in own:
            found.append(own[node])
        if found:
            lowest[node] = max(found)
    return lowest


def _decoding(view: View, blocks: Sequence[Block], layers: Sequence[Layer], risen: Set[fx.Node]) -> Set[Layer]:
    """Those of a stage's layers that come back from a lower resolution; none where all do, as in a generator."""
    back = {layer for layer in layers if layer.node in risen}
    for block in blocks:
        if not risen.isdisjoint(view.nodes[block.start : block.stop]):
            back.update(_within(block, layers))
    return back if len(back) < len(layers) else set()


def _dense_layers(view: View, block: Block) -> list[str]:
    """The layers of a dense block, which are its stage's blocks; the block itself where it is one layer."""
    inner = [
        call.path
        for call in view.capture.module_calls
        if block.start <= call.start and call.stop <= block.stop and call.path.rpartition(".")[0] == block.path
    ]
    return inner if len(inner) > 1 and all(_has_layers(view, path) for path in inner) else [block.path]


def _has_layers(view: View, path: str) -> bool:
    return any(layer.path.startswith(path + ".") for layer in view.layers)


def _output(
    structure: Structure,
    view: View,
    blocks: Sequence[Block],
    layers: Sequence[Layer],
    followed: Mapping[fx.Node, fx.Node],
) -> _Output:
    """Where a stage ends: the last of the maps that its layers make."""
    aside = {layer for block in blocks for layer in _within(block, layers) if view.level_of(layer.node) > block.level}
    mapped = [layer for layer in layers if view.layer_area[layer.node] > 1 and layer not in aside]  # not a gate
    node = max((followed[layer.node] for layer in mapped or layers), key=lambda end: view.index[end])
    if not isinstance(structure.values[node], Value):
        node = layers[-1].node
    value = structure.values[node]
    axes = [axis for axis in view.channel_axes[node] if axis > 0]
    return _Output(
        channels=value.dims[axes[0]] if axes else layers[-1].out,
        resolution=tuple(size for axis, size in enumerate(value.shape) if axis > 0 and axis not in axes[:1]),
        reduction=2 ** view.level(max(1, view.area[node])),  # positions of the larger image, where there is one
    )
