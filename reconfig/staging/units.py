"""Units: stretches of a forward that may be one block, and the resolution of the stage that each would belong to."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import fx

from reconfig.staging.view import View

Candidate = tuple[str, int, int]
"""A module, or the one in which a join is, and what of the capture would be a block: ``nodes[start:stop]``."""


@dataclass(frozen=True)
class Block:
    """A block in execution order: ``nodes[start:stop]`` of the capture, with the resolution of its output."""

    path: str
    start: int
    stop: int
    level: int


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


class Units:
    """What stretches of a forward have in them.

    Attributes:
        view: the forward.
        joins: calls that bring feature maps together, with their positions in the capture.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.joins = list(view.joins())
        self._layers = sorted(node for node in (layer.index for layer in view.layers) if self._is_mapped(node))
        self._depthwise = {layer.index for layer in view.layers if layer.depthwise}
        self._joined = [number for number, _ in self.joins]
        self._kernel_of = {layer.index: layer.kernel for layer in view.layers}
        self._width_of = {layer.index: view.structure.widths.size(layer.out) for layer in view.layers}

    def _is_mapped(self, index: int) -> bool:
        return self.view.layer_area[self.view.nodes[index]] > 1  # a gate alone is no block

    @cached_property
    def spans(self) -> list[Candidate]:
        """What each join closes: everything after the last feature map that all of its inputs come from."""
        view, dominator = self.view, dict[int, int]()
        for number, node in enumerate(view.nodes):
            sources = [view.index[source] for source in node.all_input_nodes if source in view.dynamic]
            common = sources[0] if sources else number
            for source in sources[1:]:
                common = _meet(dominator, common, source)
            dominator[number] = common
        return [(node.meta["path"], dominator[number] + 1, number + 1) for number, node in self.joins]

    def level(self, start: int, stop: int, sides: bool) -> int | None:
        """The resolution of the block that ``nodes[start:stop]`` is; None where it is none, or several.

        A block leaves at one resolution, and its layers work at that one or at those that enter it. Besides, some may
        work at lower ones in a side branch: a few, or, with ``sides``, many.
        """
        view, layers = self.view, self._layers_in(start, stop)
        nodes = view.nodes[start:stop]
        outputs = [node for node in nodes if node in view.dynamic and view.area[node] > 1]
        if not layers or not outputs:
            return None
        exit = view.level_of(outputs[-1])
        level = view.level_of(view.nodes[layers[-1]])
        if level > exit or self._joins_at(exit, layers[-1], stop):
            level = exit  # else what follows the last layer, a pool at its end, does not move a unit
        entering = {
            view.level_of(source)
            for node in nodes
            for source in node.all_input_nodes
            if source in view.dynamic and view.index[source] < start
        }
        leaving = {
            view.level_of(node) for node in outputs if any(view.index.get(user, 0) >= stop for user in node.users)
        }
        inner = {index: view.level_of(view.nodes[index]) for index in layers if index in view.convolutions}
        expected = {*entering, level}
        used = set(inner.values()) & expected
        strays = [index for index, other in inner.items() if other not in expected]
        if leaving - {level, exit} or len(used) > 2 or self._repeats(layers):
            return None
        if any(min(expected) < inner[index] < max(expected) for index in strays):
            return None
        if any(self._has_units_at(other, start, stop) for other in used - {level}):
            return None
        if 2 * len(strays) <= len(inner):
            return None if self._deepens(strays, inner) else level
        return level if sides and entering == {level} and self._is_side(start, stop, strays, outputs[-1]) else None

    def _repeats(self, layers: Sequence[int]) -> bool:
        """Whether one of these layers runs at several resolutions: a head over a pyramid is of none."""
        level_of: dict[str, int] = {}
        for index in layers:
            node = self.view.nodes[index]
            level = self.view.level_of(node)
            if level_of.setdefault(node.meta["path"], level) != level:
                return True
        return False

    def channels(self, indices: Iterable[int]) -> int:
        """How many channels these layers make, together."""
        return sum(self._width_of[index] for index in indices)

    def off_level(self, block: Block) -> list[int]:
        """The convolutions of a block that work at neither its own resolution nor one that enters it, if most do."""
        inner = [index for index in self._layers_in(block.start, block.stop) if index in self.view.convolutions]
        off = [index for index in inner if self.view.level_of(self.view.nodes[index]) > block.level]
        return off if 2 * len(off) > len(inner) else []

    def _layers_in(self, start: int, stop: int) -> list[int]:
        return self._layers[bisect_left(self._layers, start) : bisect_left(self._layers, stop)]

    def _joins_at(self, level: int, start: int, stop: int) -> list[int]:
        """Which of the joins in ``nodes[start:stop]`` give maps of this resolution."""
        within = range(bisect_left(self._joined, start), bisect_left(self._joined, stop))
        return [join for join in within if self.view.level_of(self.joins[join][1]) == level]

    def _has_units_at(self, level: int, start: int, stop: int) -> bool:
        """Whether a join within closes layers at another resolution: then blocks of several stages are inside."""
        spans = (self.spans[join] for join in self._joins_at(level, start, stop))
        return any(start <= first and self._has_layers_in_a_row(first, last) for _, first, last in spans)

    def _has_layers_in_a_row(self, start: int, stop: int) -> bool:
        """Whether a layer reads what another has made: parallel ones, or a depthwise one alone, are as one layer."""
        view, layers = self.view, set(self._layers_in(start, stop)) - self._depthwise
        made: set[fx.Node] = set()
        for index in range(start, stop):
            node = view.nodes[index]
            follows = not made.isdisjoint(node.all_input_nodes)
            if follows and index in layers:
                return True
            if follows or index in layers:
                made.add(node)
        return False

    def _deepens(self, strays: Sequence[int], inner: Iterable[int]) -> bool:
        """Whether several of these see neighbours and are wider than all others within: the end of an encoder."""
        making = [index for index in strays if index not in self._depthwise]
        spatial = [self._width_of[index] for index in making if math.prod(self._kernel_of[index]) > 1]
        others = [self._width_of[index] for index in inner if index not in strays]
        return len(spatial) > 1 and max(spatial) > max(others, default=0)

    def _is_side(self, start: int, stop: int, strays: Sequence[int], output: fx.Node) -> bool:
        """Whether layers at a lower resolution are a side branch (a mask, an attention pyramid), and not the trunk.

        The trunk widens as its maps shrink. A side branch is no wider than what it comes back to: and either much
        narrower, or the layers beside it, which it leaves alone, do the work.
        """
        width = self.view.channels(output)
        widest = max(self._width_of[index] for index in strays)
        if widest > width:
            return False
        return 2 * widest < width or self._has_layers_beside(start, stop, strays)

    def _has_layers_beside(self, start: int, stop: int, strays: Sequence[int]) -> bool:
        """Whether a convolution within neither leads into these nor comes out of them."""
        view = self.view
        these = {view.nodes[index] for index in strays}
        after, before = set(these), set(these)
        for node in view.nodes[start:stop]:
            if not after.isdisjoint(node.all_input_nodes):
                after.add(node)
        for node in reversed(view.nodes[start:stop]):
            if not before.isdisjoint(node.users):
                before.add(node)
        inner = [index for index in self._layers_in(start, stop) if index in view.convolutions]
        return any(view.nodes[index] not in after | before for index in inner)


def _meet(dominator: Mapping[int, int], left: int, right: int) -> int:
    while left != right:
        if left < right:
            left, right = right, left
        if dominator[left] == left:
            return right
        left = dominator[left]
    return left
