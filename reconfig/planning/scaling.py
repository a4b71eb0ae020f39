"""All widths of a model as functions of gamma, under one rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from math import gcd, lcm

from reconfig.errors import RuleError
from reconfig.planning.reading import Reading
from reconfig.rule import Rule, scaled
from reconfig.widths.reasons import Reason
from reconfig.widths.structure import Sizes

_NEAR = 0.1  # of the exact width: how far a preferred multiple may be from it


@dataclass(frozen=True)
class Group:
    """Widths of one stage that are equal, and stay so.

    They round to a common divisor: a factorized reduction halves its width, so 115.2 becomes 116 for the whole stage,
    as in the paper's DARTS-R. Multiples of ``preferred``, which is one of the divisor, are taken where they are near.
    """

    widths: tuple[int, ...]
    size: int
    ratio: float
    divisor: int
    preferred: int

    def scaled(self, gamma: float) -> int:
        """The new size: the nearest multiple of the preferred divisor where it is near, else of the divisor."""
        factor = self.ratio * gamma
        if factor == 1.0:
            return self.size
        size = scaled(self.size, factor, self.preferred)
        return size if self._near(size, gamma) else scaled(self.size, factor, self.divisor)

    def alternatives(self, gamma: float) -> tuple[int, ...]:
        """The multiples on both sides of the exact value: of the preferred divisor where they are near."""
        sides = self._sides(gamma, self.preferred)
        near = tuple(size for size in sides if self._near(size, gamma))
        return near or self._sides(gamma, self.divisor)

    def _sides(self, gamma: float, divisor: int) -> tuple[int, ...]:
        below = math.floor(self.size * self.ratio * gamma / divisor) * divisor
        return tuple(size for size in (below, below + divisor) if size > 0)

    def _near(self, size: int, gamma: float) -> bool:
        exact = self.size * self.ratio * gamma
        return self.preferred == self.divisor or abs(size - exact) <= _NEAR * exact


class Ratios:
    """The ratio that a rule has for each width of a model; gamma comes on top.

    Raises:
        RuleError: where the rule does not fit the stages.
    """

    def __init__(self, reading: Reading, rule: Rule) -> None:
        self._placement, self._rule = reading.placement, rule
        stages = reading.placement.stages
        self.of_stage = rule.ratios([stage.width for stage in stages])
        for stage in stages:
            if rule.channels is not None and stage.dense and not rule.growth:
                raise RuleError(
                    f"rule {rule}: stage {stage.index} is densely connected, so its channels are those that enter and "
                    f"what its layers add; scale both, as in '{rule} growth', or write the widths in tenths"
                )

    def __call__(self, width: int) -> float:
        """Of a width that a stage scales; a growth rate takes gamma alone unless the rule says so."""
        if width in self._placement.growth and not self._rule.growth:
            return 1.0
        return self.of_stage[self._placement.stage_of[width]]


class Scaling:
    """The size of every width at a gamma.

    Args:
        reading: the model.
        rule: what to make of it.
        kept: the widths that keep their size.
        divisors: what each width is a multiple of.
    """

    def __init__(self, reading: Reading, rule: Rule, kept: Mapping[int, Reason], divisors: Sequence[int]) -> None:
        stage_of = reading.placement.stage_of
        ratios = Ratios(reading, rule)
        channels = reading.structure.channels_per_width()
        members: dict[tuple[int, float, int, int], list[int]] = {}
        self._own = reading.structure.own_sizes()
        self._any_size = {width for width in self._own if rule.multiple == divisors[width] == 1}
        for width, size in self._own.items():
            if width in stage_of and width not in kept:
                key = stage_of[width], ratios(width), size, channels.get(width, 1)
                members.setdefault(key, []).append(width)

        def group(found: list[int], size: int, ratio: float, each: int) -> Group:
            divisor = lcm(*(divisors[width] for width in found))
            return Group(tuple(found), size, ratio, divisor, lcm(divisor, rule.multiple // gcd(rule.multiple, each)))

        self.groups = tuple(group(found, size, ratio, each) for (_, ratio, size, each), found in members.items())

    def __call__(self, gamma: float) -> dict[int, int]:
        """The size of every free width at this gamma."""
        return self.sizes([group.scaled(gamma) for group in self.groups])

    def fine(self, sizes: Sizes) -> Scaling:
        """The same of the widths that may have any size, with all others held at ``sizes``.

        Where equal widths have a common divisor for the sake of some, the others are free of it here.
        """
        result = copy(self)
        result._own = dict(sizes)
        result.groups = tuple(
            replace(group, widths=free, divisor=1, preferred=1)
            for group in self.groups
            if (free := tuple(width for width in group.widths if width in self._any_size))
        )
        return result

    def sizes(self, chosen: Sequence[int]) -> dict[int, int]:
        """The size of every free width, with one given for each group."""
        result = dict(self._own)
        for group, size in zip(self.groups, chosen, strict=True):
            result.update(dict.fromkeys(group.widths, size))
        return result
