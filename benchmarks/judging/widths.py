"""Which widths changed, judged by what hooks saw of the convolutions, and how many were kept for which reasons."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import reconfig
from benchmarks.judging.row import LAST, Row
from benchmarks.judging.sight import Sight
from reconfig.planning.reading import Reading

TIED = reconfig.FrozenKind.TIED
_TOLERANCE = 0.02  # of a width, for divisors and for widths that are sums of rounded pieces
_HALF_CHANGED = 0.5
_MOST_EXEMPT = 0.5
"""Of a convolutional network's weights. See ``judge_exemptions``."""


def judge_widths(row: Row, before: Sight, after: Sight, plan: reconfig.Plan, stages: reconfig.Stages) -> None:
    """Convolutions of the last stage at its ratio, all others at gamma, the classes as they were.

    A depthwise convolution has its input's channels, wherever those come from, so it only must stay depthwise.
    """
    if before.convolutions.keys() != after.convolutions.keys():
        row.blame("other convolutions run than in the original")
        return
    whole = {(layer, frozen.width) for frozen in plan.frozen for layer in frozen.layers}
    excused = excuses(plan)
    stage_of = {layer: stage for stage in stages for layer in stage.layers}
    deepest = [before.convolutions[layer].positions for layer in stages[-1].layers if layer in before.convolutions]
    for path, old in before.convolutions.items():
        new, stage = after.convolutions[path], stage_of.get(path)
        # A convolution along channels (a gate), or the third axis of one in 3d (lambda layers), may change its length.
        if len(old.positions) > 1 and old.positions[:2] != new.positions[:2]:
            row.blame(f"{path} runs at {new.positions} instead of {old.positions}")
        last = stage is not None and stage.index == len(stages)
        if old.depthwise:
            if not new.depthwise:
                row.blame(f"{path} is no longer depthwise")
        elif new.out == old.out and before.is_output(old):
            continue  # classes, or an image: all outputs are compared elsewhere
        elif (path, old.out) in whole and excused[path] != TIED:
            if new.out != old.out:
                row.blame(f"{path} has to keep its width and goes from {old.out} to {new.out}")
        elif path in stages.stem:
            # A residual may tie a stem into the stage behind it: the first, or the last where that one is a decoder's,
            # or of a branch (patches of 12 pixels beside those of 16).
            ends = len(stages) == 1 or any(_less_than_twice(old.positions, first) for first in deepest[:1])
            ties = (row.gamma, row.gamma * LAST) if ends else (row.gamma,)
            if new.out != old.out and not any(near(old.out, new.out, factor, before.divisors) for factor in ties):
                row.blame(f"{path} of the stem goes from {old.out} to {new.out}")
        elif stage is not None:
            factors = {row.gamma * (LAST if last else 1.0), *([row.gamma] if stage.dense else [])}
            if path in excused:  # a sum of widths, some of which keep their size
                fits = sorted({1.0, row.gamma, row.gamma * LAST})
                if not fits[0] * old.out * (1 - _TOLERANCE) <= new.out <= fits[-1] * old.out * (1 + _TOLERANCE):
                    row.blame(f"{path} of stage {stage.index}, kept in part, goes from {old.out} to {new.out}")
            elif not any(
                near(old.out, new.out, factor, before.divisors) or _is_sum(path, before, after, stage, factor)
                for factor in factors
            ):
                row.blame(f"{path} of stage {stage.index} goes from {old.out} to {new.out}")
            elif last:
                row.deviation = max(row.deviation, min(abs(new.out / old.out - f) for f in factors))
    row.changed = _changed(before, after, stages[-1].layers)
    if row.kind == "cnn" and row.changed < _HALF_CHANGED:
        row.blame(f"only {row.changed:.0%} of the last stage's weights change")
    if not row.changed and not excused:
        row.blame("no layer of the last stage changes, and the plan has no word of it")


def _less_than_twice(some: Sequence[int], others: Sequence[int]) -> bool:
    """Whether maps of so many positions are nearer to each other than those of two stages, which halve the sides."""
    return abs(math.log2(math.prod(some) / math.prod(others))) < len(some)


def _is_sum(path: str, before: Sight, after: Sight, stage: reconfig.Stage, factor: float) -> bool:
    """Whether a convolution's width is that of two others of its stage, each as near to the factor as can be.

    So it is behind a concat of pieces, each of which was rounded.
    """
    layers = before.convolutions.keys() & set(stage.layers)
    seen = {(before.convolutions[layer].out, after.convolutions[layer].out) for layer in layers}
    rounded = {(old, new) for old, new in seen if near(old, new, factor, before.divisors)}
    whole, made = before.convolutions[path].out, after.convolutions[path].out
    return any((whole - old, made - new) in rounded for old, new in rounded)


def excuses(plan: reconfig.Plan) -> dict[str, str]:
    """The layers that a plan lists as frozen, with the kind of reason; one that is tied and frozen as well is tied."""
    listed = sorted(plan.frozen, key=lambda frozen: frozen.kind == TIED)
    return {layer: str(frozen.kind) for frozen in listed for layer in frozen.layers}


def judge_exemptions(row: Row, before: Sight, full: reconfig.Plan) -> None:
    """How many convolutions ``full``, which asks every stage to change, excuses: counted, and not too many.

    What a plan lists is not held to the rule, so a plan that lists everything would pass. In a convolutional network at
    least half of the weights have to be held to it.
    """
    held = {path: seen for path, seen in before.convolutions.items() if not seen.depthwise}
    excused = excuses(full)
    weights = {path: math.prod(seen.weight) for path, seen in held.items()}
    kinds = Counter(excused[path] for path in held if path in excused)
    row.convolutions, row.exempt = len(held), json.dumps(kinds) if kinds else ""
    row.exempt_share = sum(weights[path] for path in held if path in excused) / max(1, sum(weights.values()))
    if row.kind == "cnn" and row.exempt_share > _MOST_EXEMPT:
        row.blame(f"{row.exempt_share:.0%} of the convolutions' weights are exempt: {row.exempt}")


def _changed(before: Sight, after: Sight, layers: Iterable[str]) -> float:
    """The share of the weights of these layers, linear ones too, whose shape is another."""
    seen = {path: math.prod(before.weights[path]) for path in layers if path in before.weights}
    changed = sum(size for path, size in seen.items() if before.weights[path] != after.weights[path])
    return changed / sum(seen.values()) if seen else 0.0


def near(old: int, new: int, factor: float, divisors: Iterable[int] = ()) -> bool:
    """Whether ``new`` is ``old * factor`` to the nearest multiple, at least one, of 1 or of a divisor of both."""
    common = math.gcd(old, new)
    return any(
        common % divisor == 0 and abs(new - max(divisor, old * factor)) <= max(divisor / 2, _TOLERANCE * old) + 1e-6
        for divisor in (1, *divisors)
    )


def census(plan: reconfig.Plan, reading: Reading) -> tuple[int, Counter[str]]:
    """Width groups in stages, and how many of them ``plan`` keeps, by reason."""
    widths, stage_of = reading.structure.widths, reading.placement.stage_of
    groups = [width for width in widths.free() if width in stage_of]
    each = reading.structure.channels_per_width()
    reasons: Counter[str] = Counter()
    for frozen in plan.frozen:
        layers = set(frozen.layers)
        found = {
            width
            for layer in reading.structure.layers
            if layer.path in layers
            for width in reading.structure.widths_in(layer.out)
            if widths.sizes[width] * each.get(width, 1) == frozen.width and stage_of.get(width) == frozen.stage - 1
        }
        reasons[frozen.reason] += max(1, len(found))
    return len(groups), reasons
