"""Count parameters and multiply-adds by arithmetic, scale widths, and solve gamma for a budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import lcm, prod

from reconfig.errors import BudgetError
from reconfig.ops import Structure
from reconfig.rule import Rule, scaled
from reconfig.stages import Placement
from reconfig.widths import Extent, Widths, constant

Sizes = dict[int, int]

_LARGEST_GAMMA = 64.0
_BISECTIONS = 48


class Polynomial:
    """A sum of products of extents: what a model counts as a function of its widths."""

    def __init__(self, widths: Widths, products: Iterable[tuple[int, Iterable[Extent]]]) -> None:
        terms: Counter[tuple[Extent, ...]] = Counter()
        for factor, extents in products:
            resolved = [widths.resolve(extent) for extent in extents]
            factor *= prod(widths.size(extent) for extent in resolved if constant(extent))
            terms[tuple(extent for extent in resolved if not constant(extent))] += factor
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
    return Polynomial(structure.widths, ((cost.factor, cost.extents) for cost in structure.costs))


def scale_widths(structure: Structure, placement: Placement, rule: Rule, gamma: float) -> Sizes:
    """The new size of every free width under ``rule`` and ``gamma``.

    Widths of one stage that are equal stay equal, so they round to a common divisor (a factorized reduction halves
    its width: 115.2 becomes 116 for the whole stage, as in the paper's DARTS-R).
    """
    widths = structure.widths
    ratios = rule.ratios(len(placement.stages))
    groups: dict[tuple[int, float, int], list[int]] = {}
    sizes: Sizes = {}
    for width in widths.free():
        sizes[width] = widths.sizes[width]
        if width in placement.stage_of and width not in widths.frozen:
            ratio = 1.0 if width in placement.growth and not rule.growth else ratios[placement.stage_of[width]]
            if ratio * gamma != 1.0:
                groups.setdefault((placement.stage_of[width], ratio, widths.sizes[width]), []).append(width)
    for (_, ratio, size), members in groups.items():
        divisor = lcm(*(widths.divisors[width] for width in members))
        for width in members:
            sizes[width] = scaled(size, ratio * gamma, divisor)
    return sizes


def solve_gamma(count: Callable[[Sizes], int], scale: Callable[[float], Sizes], budget: int, what: str) -> float:
    """The gamma whose widths count closest to ``budget``.

    Widths are whole, so ``count(scale(gamma))`` is a staircase: bisection finds its step next to the budget, and the
    nearer side wins.

    Raises:
        BudgetError: where not even the narrowest network fits, or growing changes nothing.
    """
    low, high = 0.0, 1.0
    smallest = count(scale(1e-9))
    if budget < smallest:
        raise BudgetError(
            f"budget of {budget:,} {what} is below what this rule can reach: with every scaled width at its "
            f"least the model has {smallest:,}; "
            f"ask for at least that, or narrow with a rule that reaches more stages"
        )
    while count(scale(high)) < budget:
        low, high = high, high * 2
        if high > _LARGEST_GAMMA:
            raise BudgetError(
                f"budget of {budget:,} {what} is out of reach: at gamma {_LARGEST_GAMMA:g} the model has "
                f"{count(scale(high / 2)):,}"
            )
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if count(scale(middle)) < budget else (low, middle)
        if high - low < 1e-9 * high:
            break
    below = low if low > 0 else high
    return min((below, high), key=lambda gamma: abs(count(scale(gamma)) - budget))


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
