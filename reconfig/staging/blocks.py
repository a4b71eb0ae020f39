"""Blocks: the modules, or the spans of residuals, that belong whole to one stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from reconfig.staging.units import Block, Candidate, Stretches, Units
from reconfig.staging.view import View
from reconfig.trace.skeleton import modules_of


def find_blocks(model: nn.Module, view: View) -> list[Block]:
    """Blocks, outermost first found: modules of a class that joins feature maps, then what the other joins span."""
    units = Units(view)
    found = _all_blocks(model, units, sides=True)
    off = sum(units.channels(units.off_level(block)) for block in found)
    # Units that spend most of the network at other resolutions are its trunk, as a stack of hourglasses is; masks of
    # one channel are not, however many layers make them.
    return found if 2 * off <= units.channels(view.convolutions) else _all_blocks(model, units, sides=False)


def _all_blocks(model: nn.Module, units: Units, sides: bool) -> list[Block]:
    view = units.view
    modules = modules_of(model)
    classes = {type(modules[node.meta["path"]]) for _, node in units.joins if node.meta["path"]}
    candidates = [
        (call.path, call.start, call.stop)
        for call in view.capture.module_calls
        if call.path and type(modules[call.path]) in classes
    ]
    blocks = _outermost(units, candidates, [], sides)
    if blocks:
        blocks = _outermost(units, _plain_blocks(modules, view, blocks[0].start), blocks, sides)
    inside = Stretches(blocks)
    open_spans = [span for span in units.spans if not inside.covers(span[2] - 1)]
    return _outermost(units, open_spans, blocks, sides) if open_spans else blocks


def _plain_blocks(modules: Mapping[str, nn.Module], view: View, start: int) -> list[Candidate]:
    """Modules of the model's own classes, after the first block, that hold several layers: a patch merging."""
    return [
        (call.path, call.start, call.stop)
        for call in view.capture.module_calls
        if call.start > start
        and not type(modules[call.path]).__module__.startswith("torch.")
        and sum(call.start <= layer.index < call.stop for layer in view.layers) > 1
    ]


def _outermost(units: Units, candidates: Sequence[Candidate], blocks: list[Block], sides: bool) -> list[Block]:
    """The largest candidates that are one block each, none inside another, in execution order."""
    accepted = list(blocks)
    covered = Stretches(blocks)
    for path, start, stop in sorted(candidates, key=lambda item: (item[1], -item[2])):
        if covered.touches(start, stop):
            continue
        level = units.level(start, stop, sides)
        if level is not None:
            accepted.append(Block(path, start, stop, level))
            covered.add(accepted[-1])
    return sorted(accepted, key=lambda block: block.start)
