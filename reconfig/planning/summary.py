"""What a plan says of its stages, and of the widths that keep their size."""

from __future__ import annotations

import math
from collections.abc import Mapping

from reconfig.planning.agree import Agreement
from reconfig.planning.plan import Frozen, StagePlan
from reconfig.planning.reading import Reading
from reconfig.planning.scaling import Ratios
from reconfig.rewrite.inherit import Channels, Resized
from reconfig.rule import Rule
from reconfig.widths.reasons import FrozenKind, Reason
from reconfig.widths.structure import Sizes, Structure

_NATURAL = (FrozenKind.INPUT, FrozenKind.HEAD)  # what no rule asks to scale


def frozen_widths(reading: Reading, rule: Rule, result: Agreement) -> tuple[Frozen, ...]:
    """The widths that the rule asks to scale and that keep their size, those with one reason together."""
    structure, placement = reading.structure, reading.placement
    ratios = Ratios(reading, rule)
    found: dict[tuple[int, int, Reason], list[str]] = {}
    each = structure.channels_per_width()
    sizes = {width: size * each.get(width, 1) for width, size in structure.own_sizes().items()}
    for width, size in sizes.items():
        reason = result.kept.get(width) or _stuck(structure, width, result)
        stage = placement.stage_of.get(width)
        if reason is None or stage is None or reason.kind in _NATURAL:
            continue
        if ratios(width) * result.gamma != 1.0:
            found.setdefault((stage, size, reason), []).extend(reading.made_by(width))
    for width, later in placement.tied.items():
        own = placement.stage_of[width]
        for stage in sorted(later):
            if ratios.of_stage[stage] != ratios.of_stage[own] and width in sizes:
                reason = Reason(FrozenKind.TIED, f"tied to stage {own + 1}, which has another ratio")
                layers = [path for path in reading.made_by(width) if path in placement.stages[stage].layers]
                found.setdefault((stage, sizes[width], reason), []).extend(layers)
    return tuple(
        Frozen(stage + 1, tuple(dict.fromkeys(layers)), size, reason.kind, reason.text, reason.remedy)
        for (stage, size, reason), layers in found.items()
    )


def _stuck(structure: Structure, width: int, result: Agreement) -> Reason | None:
    """Why a width that stayed as it was could not become smaller, if it could not."""
    divisor = result.divisors[width]
    channels = divisor * structure.channels_per_width().get(width, 1)
    if channels == 1 or not structure.widths.sizes[width] == result.sizes[width] == divisor:
        return None
    return Reason(FrozenKind.DIVISOR, f"its channels come in multiples of {channels}")


def stage_plans(original: Reading, edited: Reading, rule: Rule, result: Agreement) -> tuple[StagePlan, ...]:
    """Every stage before and after; ``edited`` is the model at the plan's depth."""
    sizes = result.sizes
    members = original.stage_members()
    before = _stage_params(original, members, original.structure.own_sizes())
    after = _stage_params(edited, members if edited is original else edited.stage_members(), sizes)
    widths = edited.structure.widths
    return tuple(
        StagePlan(
            index=old.index,
            reduction=old.reduction,
            resolution=old.resolution,
            blocks=(len(old.blocks), len(new.blocks)),
            width=(old.width, widths.size(edited.placement.outputs[new.index - 1], sizes)),
            params=(before[old.index], after[new.index]),
            dense=old.dense,
            kept=_kept_channels(edited, new.index - 1, rule, result),
        )
        for old, new in zip(original.placement.stages, edited.placement.stages, strict=True)
    )


def _kept_channels(reading: Reading, stage: int, rule: Rule, result: Agreement) -> int:
    """Channels at a stage's output that keep their number though ``rule`` asks for another.

    What enters a dense stage, and grows in it, is scaled by other rules than its own.
    """
    structure, placement = reading.structure, reading.placement
    if Ratios(reading, rule).of_stage[stage] * result.gamma == 1.0:
        return 0
    dense = placement.stages[stage].dense

    def stays(width: int) -> bool:
        reason = result.kept.get(width)
        if reason is not None:
            return reason.kind not in _NATURAL
        return not dense and placement.stage_of.get(width) != stage and result.sizes[width] == own[width]

    own = structure.own_sizes()
    terms = structure.widths.resolve(placement.outputs[stage])
    return sum(
        structure.widths.size((term,)) for term in terms if any(stays(width) for width in structure.widths_in((term,)))
    )


def _stage_params(reading: Reading, members: Mapping[str, int], sizes: Sizes) -> dict[int, int]:
    """Parameters by stage."""
    structure = reading.structure
    totals = {stage.index: 0 for stage in reading.placement.stages}
    for name, index in members.items():
        totals[index] += math.prod(structure.widths.size(extent, sizes) for extent in structure.params[name])
    return totals


def changing_channels(structure: Structure, sizes: Sizes) -> Channels:
    """What ``inherit`` needs to know about the tensors that change."""
    widths = structure.widths
    changed = {
        width: Resized(widths.sizes[width], new, widths.divisors[width])
        for width, new in sizes.items()
        if new != widths.sizes[width]
    }
    resolved = {name: tuple(widths.resolve(extent) for extent in dims) for name, dims in structure.params.items()}
    dims = {name: extents for name, extents in resolved.items() if structure.widths_in(*extents) & changed.keys()}
    gains = {name: widths.resolve(extent) for name, extent in structure.gains.items()}
    gains = {name: extent for name, extent in gains.items() if structure.widths_in(extent) & changed.keys()}
    used = structure.widths_in(*(extent for extents in dims.values() for extent in extents), *gains.values())
    return Channels(
        widths=changed,
        dims=dims,
        sizes={width: widths.sizes[width] for width in sorted(used - changed.keys())},
        reads=tuple(read for read in structure.reads if read[0] in dims),
        gains=gains,
    )
