"""The resolution level of the stage that each layer belongs to, or that it is outside of all stages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from itertools import takewhile

import torch
import torch.nn.functional as F
from torch import fx, nn

from reconfig.errors import StageError
from reconfig.staging.units import Block, Stretches
from reconfig.staging.view import View
from reconfig.trace.skeleton import within
from reconfig.widths.algebra import single_width
from reconfig.widths.structure import Layer

_AVERAGE_POOLS = {torch._C._nn.avg_pool2d, F.avg_pool2d, F.avg_pool1d, F.avg_pool3d}


class Outside(Enum):
    """Where a layer is that no stage scales."""

    STEM = "stem"
    HEAD = "head"


Levels = Mapping[Layer, int | Outside]
"""The level of each layer: the binary logarithm of its stage's reduction, or the number that a user gave the stage."""

_STEM_NAMES = ("stem", "patch_embed")


def named_stem(view: View) -> int:
    """Where what is called a stem ends, a module or a list of them that sees the image first; 0 where there is none."""
    if not view.layers:
        return 0
    parts = view.layers[0].path.split(".")
    names = [number for number, part in enumerate(parts) if part in _STEM_NAMES]
    if not names:
        return 0
    stem = ".".join(parts[: names[-1] + 1])
    inside = takewhile(lambda layer: within(layer.path, stem), view.layers)
    last = max(layer.index for layer in inside)
    calls = [call for call in view.capture.module_calls if within(call.path, stem)]
    return max((call.stop for call in calls if call.start <= last < call.stop), default=last + 1)


def found_levels(view: View, blocks: Sequence[Block], stem: int) -> Levels:
    """The resolution level of the stage of every layer; ``Outside.STEM`` and ``Outside.HEAD`` for those outside."""
    encoding = _encoding(view, blocks)
    start = max(stem, _first_block(view, encoding))
    outer = view.level_of(view.layers[0].node)
    inner = encoding[0].level if encoding else outer
    levels: dict[Layer, int | Outside] = {}
    position = 0
    for layer in view.layers:
        while position < len(blocks) and blocks[position].stop <= layer.index:
            position += 1
        block = blocks[position] if position < len(blocks) and blocks[position].start <= layer.index else None
        if view.is_head(layer):
            levels[layer] = Outside.HEAD
        elif block is not None:
            levels[layer] = block.level
        elif layer.index < stem or (layer.index < start and not outer < view.level_of(layer.node) < inner):
            levels[layer] = Outside.STEM
        else:
            start = min(start, layer.index)  # nothing behind a stage is the stem
            levels[layer] = view.level_of(_commuted(view, layer))
    return _shared(_with_their_trunk(view, blocks, levels))


def _with_their_trunk(view: View, blocks: Sequence[Block], levels: Levels) -> Levels:
    """Layers that make the width of a residual trunk behind the pool that follows, as a ResNet-9's, are its own."""
    stretches = Stretches(blocks)
    trunk: dict[int, set[int]] = {}
    width_of: dict[Layer, int] = {}
    for layer, level in levels.items():
        width = single_width(view.structure.widths.resolve(layer.out))
        if width is None or isinstance(level, Outside) or layer.depthwise:
            continue
        if stretches.covers(layer.index):
            trunk.setdefault(width, set()).add(level)
        elif _is_pooled(view, layer):
            width_of[layer] = width

    def moved(layer: Layer, level: int | Outside) -> int | Outside:
        behind = min(trunk.get(width_of.get(layer, -1), ()), key=in_order, default=None)
        if behind is None or isinstance(level, Outside) or in_order(behind) <= in_order(level):
            return level
        return behind

    return {layer: moved(layer, level) for layer, level in levels.items()}


def _is_pooled(view: View, layer: Layer) -> bool:
    """Whether a call that is no layer lowers the resolution of a layer's map before anything else reads it."""
    node = layer.node
    while True:
        users = [user for user in node.users if user in view.index]
        if len(users) != 1 or users[0] in view.makers:
            return False
        if view.area[users[0]] < view.area[node]:
            return view.area[users[0]] > 1
        node = users[0]


def _shared(levels: Levels) -> Levels:
    """A layer that runs at several resolutions, as a head over a pyramid, is one layer: the first stage's of them."""
    runs: dict[str, list[int]] = {}
    for layer, level in levels.items():
        if not isinstance(level, Outside):
            runs.setdefault(layer.path, []).append(level)
    return {
        layer: level if isinstance(level, Outside) else min(runs[layer.path], key=in_order)
        for layer, level in levels.items()
    }


def in_order(level: int) -> tuple[bool, int]:
    """What stages are sorted by: maps shrink from the input's size, or grow from it."""
    return level < 0, abs(level)


def _encoding(view: View, blocks: Sequence[Block]) -> list[Block]:
    """The blocks that come before all layers of a lower resolution: the others are a decoder's, and end no stem."""
    first: dict[int, int] = {}
    for layer in view.layers:
        if view.layer_area[layer.node] > 1:
            first.setdefault(view.level_of(layer.node), layer.index)
    return [block for block in blocks if all(block.start <= at for level, at in first.items() if level > block.level)]


def _first_block(view: View, blocks: Sequence[Block]) -> int:
    """Where the stem ends: at the first block, or at a module of several layers that stands where blocks stand.

    The latter is a block that happens to have no residual, such as the first of an EfficientNet (``blocks.0.0``).
    """
    if not blocks:
        return 0
    start = blocks[0].start
    siblings = {_position_in_tree(block.path) for block in blocks if "." in block.path}
    for call in view.capture.module_calls:
        if call.start < start and _position_in_tree(call.path) in siblings:
            inside = [layer for layer in view.layers if call.start <= layer.index < call.stop]
            start = call.start if len(inside) > 1 else start
    return start


def _position_in_tree(path: str) -> tuple[str, int]:
    """The outermost container of a module, and how deep below it the module is."""
    return path.partition(".")[0], path.count(".")


def _commuted(view: View, layer: Layer) -> fx.Node:
    """The node whose resolution counts for a layer: its average pool's, where nothing is between the two."""
    users = list(layer.node.users)
    pointwise = layer.kernel and math.prod(layer.kernel) == 1
    if pointwise and len(users) == 1 and users[0].target in _AVERAGE_POOLS and view.below[users[0]] > 1:
        return users[0]
    return layer.node


def given_levels(model: nn.Module, view: View, by_hand: Mapping[str, int]) -> Levels:
    """The number that a user gave to the stage of each layer, by module name or pattern; the later pattern counts.

    Raises:
        StageError: where the numbers have a gap, or a pattern or a stage has no layer.
    """
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
    levels: dict[Layer, int | Outside] = {}
    for layer in view.layers:
        found = [number for pattern, number in by_hand.items() if _matches(layer.path, pattern)]
        levels[layer] = found[-1] if found else Outside.HEAD if view.is_head(layer) else Outside.STEM
    if set(numbers) - set(levels.values()):
        missing = sorted(set(numbers) - set(levels.values()))
        raise StageError(f"stages: no layer that runs in the forward matches the patterns of stage {missing[0]}")
    return levels


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern + ".") or any(fnmatchcase(name, known) for known in (pattern, pattern + ".*"))
