"""Blocks: the modules, or the spans of residuals, that belong whole to one stage."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import fx, nn

from reconfig.staging.view import View
from reconfig.trace.skeleton import modules_of


@dataclass(frozen=True)
class Block:
    """A block in execution order: ``nodes[start:stop]`` of the capture, with the resolution of its output."""

    path: str
    start: int
    stop: int
    level: int


def find_blocks(model: nn.Module, view: View) -> list[Block]:
    """Blocks, outermost first found: modules of a class that joins feature maps, then what the other joins span."""
    modules = modules_of(model)
    joins = list(view.joins())
    classes = {type(modules[node.meta["path"]]) for _, node in joins if node.meta["path"]}
    candidates = [
        (call.path, call.start, call.stop)
        for call in view.capture.module_calls
        if call.path and type(modules[call.path]) in classes
    ]
    blocks = _outermost(view, candidates, [])
    if blocks:
        blocks = _outermost(view, _plain_blocks(modules, view, blocks[0].start), blocks)
    inside = Stretches(blocks)
    open_joins = [(number, node) for number, node in joins if not inside.covers(number)]
    if open_joins:
        blocks = _outermost(view, _spans(view, open_joins), blocks)
    return blocks


def _plain_blocks(modules: Mapping[str, nn.Module], view: View, start: int) -> list[tuple[str, int, int]]:
    """Modules of the model's own classes, after the first block, that hold several layers: a patch merging."""
    return [
        (call.path, call.start, call.stop)
        for call in view.capture.module_calls
        if call.start > start
        and not type(modules[call.path]).__module__.startswith("torch.")
        and sum(call.start <= layer.index < call.stop for layer in view.layers) > 1
    ]


def _outermost(view: View, candidates: Sequence[tuple[str, int, int]], blocks: list[Block]) -> list[Block]:
    """The largest candidates that are one block each, none inside another, in execution order."""
    layers = sorted(layer.index for layer in view.layers if view.layer_area[layer.node] > 1)  # a gate alone is no block
    accepted = list(blocks)
    covered = Stretches(blocks)
    for path, start, stop in sorted(candidates, key=lambda item: (item[1], -item[2])):
        inner = layers[bisect_left(layers, start) : bisect_left(layers, stop)]
        if not inner or covered.touches(start, stop):
            continue
        level = _block_level(view, start, stop, inner)
        if level is not None:
            accepted.append(Block(path, start, stop, level))
            covered.add(accepted[-1])
    return sorted(accepted, key=lambda block: block.start)


class Stretches:
    """Disjoint stretches of the capture, found by bisection."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._starts = sorted(block.start for block in blocks)
        self._stops = sorted(block.stop for block in blocks)

    def add(self, block: Block) -> None:
        insort(self._starts, block.start)
        insort(self._stops, block.stop)

    def covers(self, number: int) -> bool:
        return self.touches(number, number + 1)

    def touches(self, start: int, stop: int) -> bool:
        """Whether one of them overlaps ``start:stop``.

        They are disjoint and sorted, so those that begin before ``stop`` and those that end by ``start`` are as many,
        unless one begins before ``stop`` and has not ended by ``start``.
        """
        return bisect_left(self._starts, stop) != bisect_right(self._stops, start)


def _block_level(view: View, start: int, stop: int, layers: Sequence[int]) -> int | None:
    """The resolution of the block's output, if it is one block: it leaves at one resolution and works at most there.

    Besides the resolutions of its inputs and its output, convolutions may run in a side branch at a lower one, if they
    are few; one in between would mean that several stages are inside.
    """
    nodes = view.nodes[start:stop]
    outputs = [node for node in nodes if node in view.dynamic and view.area[node] > 1]
    if not outputs:
        return None
    level = view.level_of(outputs[-1])
    entering = {
        view.level_of(source)
        for node in nodes
        for source in node.all_input_nodes
        if source in view.dynamic and view.index[source] < start
    }
    leaving = {view.level_of(node) for node in outputs if any(view.index.get(user, 0) >= stop for user in node.users)}
    inner = [view.level_of(view.nodes[index]) for index in layers if index in view.convolutions]
    expected = {*entering, level}
    strays = [other for other in inner if other not in expected]
    between = any(min(expected) < other < max(expected) for other in strays)
    several = len(set(inner) & expected) > 2 or len(leaving - {level}) > 0
    return None if several or between or 2 * len(strays) > len(inner) else level


def _spans(view: View, joins: Sequence[tuple[int, fx.Node]]) -> list[tuple[str, int, int]]:
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
