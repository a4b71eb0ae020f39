"""Count parameters and multiply-adds by arithmetic, scale widths, and solve gamma for a budget."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import lcm, prod

from reconfig.errors import BudgetError
from reconfig.ops import Structure
from reconfig.rule import Rule, scaled
from reconfig.stages import Placement
from reconfig.widths import Extent, Widths, constant

Sizes = dict[int, int]

_LARGEST_GAMMA = 64.0
_BISECTIONS = 48
_SMALL_MISS = 0.001
_NEIGHBOURHOOD = 0.1  # as a part of gamma
_NEIGHBOURS = 10


class Polynomial:
    """A sum of products of extents: what a model counts as a function of its widths."""

    def __init__(self, widths: Widths, products: Iterable[tuple[int, Iterable[Extent]]]) -> None:
        terms: Counter[tuple[Extent, ...]] = Counter()
        for factor, extents in products:
            variable = []
            for extent in map(widths.resolve, extents):
                if constant(extent):
                    factor *= widths.size(extent)
                else:
                    variable.append(extent)
            terms[tuple(variable)] += factor
        self._widths = widths
        self._terms = dict(terms)
        self._extents = {extent for extents in terms for extent in extents}

    def __call__(self, sizes: Sizes) -> int:
        length = {extent: self._widths.size(extent, sizes) for extent in self._extents}
        return sum(factor * prod(length[extent] for extent in extents) for extents, factor in self._terms.items())


def parameter_polynomial(structure: Structure, names: Iterable[str]) -> Polynomial:
    """Parameters of these names, shared ones once, buffers not at all."""
    return Polynomial(structure.widths, ((1, structure.params[name]) for name in names))


def flops_polynomial(structure: Structure, batch: int) -> Polynomial:
    """Multiply-adds of one forward in eval mode for ``batch`` examples, by fvcore's rules."""
    # What is done to weights (standardisation) is done once, however many examples there are.
    return Polynomial(
        structure.widths,
        ((cost.factor * (batch if cost.once else 1), cost.extents) for cost in structure.costs),
    )


@dataclass(frozen=True)
class Group:
    """Widths of one stage that are equal, and stay so.

    They round to a common divisor: a factorized reduction halves its width, so 115.2 becomes 116 for the whole stage,
    as in the paper's DARTS-R.
    """

    widths: tuple[int, ...]
    size: int
    ratio: float
    divisor: int

    def scaled(self, gamma: float) -> int:
        """The new size: the nearest multiple of the divisor."""
        factor = self.ratio * gamma
        return self.size if factor == 1.0 else scaled(self.size, factor, self.divisor)

    def alternatives(self, gamma: float) -> tuple[int, ...]:
        """The multiples of the divisor on both sides of the exact value."""
        below = math.floor(self.size * self.ratio * gamma / self.divisor) * self.divisor
        return tuple(size for size in (below, below + self.divisor) if size > 0)


class Scaling:
    """All widths of a model as functions of gamma, under one rule."""

    def __init__(self, structure: Structure, placement: Placement, rule: Rule) -> None:
        widths = structure.widths
        ratios = rule.ratios(len(placement.stages))
        members: dict[tuple[int, float, int], list[int]] = {}
        self._own = {width: widths.sizes[width] for width in widths.free()}
        for width, size in self._own.items():
            if width in placement.stage_of and width not in widths.frozen:
                stage = placement.stage_of[width]
                ratio = 1.0 if width in placement.growth and not rule.growth else ratios[stage]
                members.setdefault((stage, ratio, size), []).append(width)
        self.groups = tuple(
            Group(tuple(found), size, ratio, lcm(*(widths.divisors[width] for width in found)))
            for (_, ratio, size), found in members.items()
        )

    def __call__(self, gamma: float) -> Sizes:
        """The size of every free width at this gamma."""
        return self.sizes([group.scaled(gamma) for group in self.groups])

    def sizes(self, chosen: Sequence[int]) -> Sizes:
        """The size of every free width, with one given for each group."""
        result = dict(self._own)
        for group, size in zip(self.groups, chosen, strict=True):
            result.update(dict.fromkeys(group.widths, size))
        return result

    def closest(self, count: Callable[[Sizes], int], gamma: float, budget: int) -> Sizes:
        """The widths around this gamma that count closest to ``budget``.

        Every width may round up or down; as long as the miss shrinks, the one that shrinks it most changes sides, and
        where none does and the miss is not small, two at a time.
        """
        chosen = [group.scaled(gamma) for group in self.groups]
        moves = [(index, size) for index, group in enumerate(self.groups) for size in group.alternatives(gamma)]

        def missed(trial: Sequence[int]) -> int:
            return abs(count(self.sizes(trial)) - budget)

        miss = missed(chosen)
        for together, enough in ((1, 0.0), (2, budget * _SMALL_MISS)):
            while miss > enough:
                left = [(index, size) for index, size in moves if size != chosen[index]]
                trials = [_moved(chosen, some) for some in combinations(left, together)]
                misses = [missed(trial) for trial in trials]
                if min(misses, default=miss) >= miss:
                    break
                miss = min(misses)
                chosen = trials[misses.index(miss)]
        return self.sizes(chosen)


def _moved(chosen: Sequence[int], moves: Iterable[tuple[int, int]]) -> list[int]:
    result = list(chosen)
    for index, size in moves:
        result[index] = size
    return result


def meet(count: Callable[[Sizes], int], scaling: Scaling, budget: int, what: str) -> tuple[float, Sizes]:
    """Gamma and the widths around it that count closest to ``budget``.

    Where divisors (groups, heads) leave only coarse steps, gammas next to the solved one are tried too: there other
    multiples are next to the exact widths.

    Raises:
        BudgetError: where no gamma meets it.
    """
    solved = solve_gamma(count, scaling, budget, what)
    found = solved, scaling.closest(count, solved, budget)
    for step in range(1, _NEIGHBOURS + 1):
        if abs(count(found[1]) - budget) <= budget * _SMALL_MISS:
            break
        nearby = [solved * (1 + sign * step * _NEIGHBOURHOOD / _NEIGHBOURS) for sign in (-1, 1)]
        tried = [found, *((gamma, scaling.closest(count, gamma, budget)) for gamma in nearby)]
        found = min(tried, key=lambda pair: abs(count(pair[1]) - budget))
    return found


def solve_gamma(count: Callable[[Sizes], int], scaling: Scaling, budget: int, what: str) -> float:
    """The gamma whose widths count closest to ``budget``.

    Widths are whole, so the count is a staircase in gamma: bisection finds its step next to the budget, and the nearer
    side wins.

    Raises:
        BudgetError: where not even the narrowest network fits, or the widest does not reach it.
    """

    def at(gamma: float) -> int:
        return count(scaling(gamma))

    low, high = 0.0, 1.0
    if budget < (smallest := at(1e-9)):
        raise BudgetError(
            f"budget of {budget:,} {what} is below what this rule can reach: with every scaled width at its least "
            f"the model has {smallest:,}; ask for at least that, or narrow with a rule that reaches more stages"
        )
    while at(high) < budget:
        low, high = high, high * 2
        if high > _LARGEST_GAMMA:
            raise BudgetError(
                f"budget of {budget:,} {what} is out of reach: at gamma {low:g} the model has {at(low):,}; "
                "ask for less, or see in the plan without a budget what is frozen"
            )
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) < budget else (low, middle)
        if high - low < 1e-9 * high:
            break
    below = low if low > 0 else high
    return min((below, high), key=lambda gamma: abs(at(gamma) - budget))


def as_number(budget: object, own: Mapping[str, Callable[[], int]]) -> tuple[int, str]:
    """The budget as a number, and what it counts.

    Raises:
        BudgetError: where it is neither "params", nor "flops", nor a whole number above 0.
    """
    if isinstance(budget, str) and budget in own:
        return own[budget](), budget
    if isinstance(budget, int) and not isinstance(budget, bool) and budget > 0:
        return budget, "params"
    raise BudgetError(
        "budget must be 'params' or 'flops' (the original's own count) or a number of parameters above 0, "
        f"not {budget!r}; "
        "write e.g. budget='params' or budget=66_457_818"
    )
