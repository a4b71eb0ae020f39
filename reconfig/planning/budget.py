"""Solve gamma for a number of parameters or multiply-adds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from reconfig.errors import BudgetError
from reconfig.planning.counts import Count
from reconfig.planning.scaling import Scaling
from reconfig.widths.structure import Sizes

Unit = Literal["params", "flops"]
Budget = Unit | int | tuple[Unit, int]
"""The original's own count, a number of parameters, or a number of either."""

_LARGEST_GAMMA = 64.0  # 4,096 times the parameters: who asks for more has miscounted
_BISECTIONS = 48  # a factor of two each, beyond the relative precision below from any start
_PRECISION = 1e-9  # of gamma: far below a channel in any width
_SMALL_MISS = 0.001  # of the budget: below what tables print (0.1 %)
_SMALL_STEP = 0.125  # of a width: how far it may be from those it was equal to for a budget's sake
_NEIGHBOURHOOD = 0.1  # of gamma: how far around the solution other multiples of coarse divisors are tried
_NEIGHBOURS = 10  # on each side


@dataclass(frozen=True)
class Target:
    """A budget as a number, and what it counts."""

    number: int
    unit: Unit


def read_budget(budget: object, own: Mapping[Unit, int]) -> Target:
    """The budget as a number; ``own`` are the original's own counts.

    Raises:
        BudgetError: where it is neither "params", nor "flops", nor a whole number above 0, alone or with one of them.
    """
    unit, number = budget if isinstance(budget, tuple) and len(budget) == 2 else ("params", budget)
    for known, count in own.items():
        if budget == known:
            return Target(count, known)
        if unit == known and isinstance(number, int) and not isinstance(number, bool) and number > 0:
            return Target(number, known)
    raise BudgetError(
        "budget must be 'params' or 'flops' (the original's own count), a number of parameters above 0, or a pair such "
        f"as ('flops', 1_000_000_000), not {budget!r}; "
        "write e.g. budget='params' or budget=66_457_818"
    )


def meet(count: Count, scaling: Scaling, target: Target) -> tuple[float, Sizes]:
    """Gamma and the widths around it that count closest to the budget.

    Where divisors (groups, heads) leave only coarse steps, gammas next to the solved one are tried too: there other
    multiples are next to the exact widths. At last the coarse widths stay, and gamma is solved for the
    others, which may then differ from such as they were equal to; where that is not enough, single coarse ones may too.

    Raises:
        BudgetError: where no gamma meets it.
    """

    def miss(pair: tuple[float, Sizes]) -> int:
        return abs(count(pair[1]) - target.number)

    solved = solve_gamma(count, scaling, target)
    found = solved, closest(count, scaling, solved, target)
    for step in range(1, _NEIGHBOURS + 1):
        if miss(found) <= target.number * _SMALL_MISS:
            return found
        nearby = [solved * (1 + sign * step * _NEIGHBOURHOOD / _NEIGHBOURS) for sign in (-1, 1)]
        tried = [found, *((gamma, closest(count, scaling, gamma, target)) for gamma in nearby)]
        found = min(tried, key=miss)
    between = scaling.fine(found[1])
    try:
        gamma = solve_gamma(count, between, target)
        found = min(found, (gamma, closest(count, between, gamma, target)), key=miss)
    except BudgetError:  # they are too few
        pass
    return found[0], one_by_one(count, scaling, found[1], target)


def meet_roughly(count: Count, scaling: Scaling, target: Target) -> tuple[float, Sizes]:
    """Gamma and the widths that it rounds to, which ``meet`` moves nearer to the budget.

    Raises:
        BudgetError: where no gamma meets it.
    """
    gamma = solve_gamma(count, scaling, target)
    return gamma, scaling(gamma)


def closest(count: Count, scaling: Scaling, gamma: float, target: Target) -> Sizes:
    """The widths around this gamma that count closest to the budget.

    Every width may round up or down; as long as the miss shrinks, the one that shrinks it most changes sides, and
    where none does and the miss is not small, two at a time.
    """
    chosen = [group.scaled(gamma) for group in scaling.groups]
    moves = [(index, size) for index, group in enumerate(scaling.groups) for size in group.alternatives(gamma)]

    def missed(trial: Sequence[int]) -> int:
        return abs(count(scaling.sizes(trial)) - target.number)

    miss = missed(chosen)
    for together, enough in ((1, 0.0), (2, target.number * _SMALL_MISS)):
        while miss > enough:
            left = [(index, size) for index, size in moves if size != chosen[index]]
            trials = [_moved(chosen, some) for some in combinations(left, together)]
            misses = [missed(trial) for trial in trials]
            if min(misses, default=miss) >= miss:
                break
            miss = min(misses)
            chosen = trials[misses.index(miss)]
    return scaling.sizes(chosen)


def one_by_one(count: Count, scaling: Scaling, sizes: Sizes, target: Target) -> Sizes:
    """Single widths go to the multiple above or below, where that is near, while the miss is not small and shrinks."""

    def missed(trial: Sizes) -> int:
        return abs(count(trial) - target.number)

    found = dict(sizes)
    steps = [(width, group.preferred) for group in scaling.groups for width in group.widths]
    near = [(width, step) for width, step in steps if step <= _SMALL_STEP * sizes[width]]
    moves = [(width, sizes[width] + sign * step) for width, step in near for sign in (-1, 1)]
    while missed(found) > target.number * _SMALL_MISS:
        left = [{**found, width: size} for width, size in moves if found[width] == sizes[width]]
        best = min(left, key=missed, default=found)
        if missed(best) >= missed(found):
            break
        found = best
    return found


def _moved(chosen: Sequence[int], moves: Iterable[tuple[int, int]]) -> list[int]:
    result = list(chosen)
    for index, size in moves:
        result[index] = size
    return result


def solve_gamma(count: Count, scaling: Scaling, target: Target) -> float:
    """The gamma whose widths count closest to the budget.

    Widths are whole, so the count is a staircase in gamma: bisection finds its step next to the budget, and the nearer
    side wins.

    Raises:
        BudgetError: where not even the narrowest network fits, or the widest does not reach it.
    """
    budget, unit = target.number, target.unit

    def at(gamma: float) -> int:
        return count(scaling(gamma))

    low, high = 0.0, 1.0
    if budget < (smallest := at(_PRECISION)):
        raise BudgetError(
            f"budget of {budget:,} {unit} is below what this rule can reach: with every scaled width at its least "
            f"the model has {smallest:,}; ask for at least that, or narrow with a rule that reaches more stages"
        )
    while at(high) < budget:
        low, high = high, high * 2
        if high > _LARGEST_GAMMA:
            raise BudgetError(
                f"budget of {budget:,} {unit} is out of reach: at gamma {low:g} the model has {at(low):,}; "
                "ask for less, or see in the plan without a budget what is frozen"
            )
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) < budget else (low, middle)
        if high - low < _PRECISION * high:
            break
    below = low if low > 0 else high
    return min((below, high), key=lambda gamma: abs(at(gamma) - budget))
