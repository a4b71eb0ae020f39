"""Parameters and multiply-adds as functions of the widths, without a network that has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from math import prod

from reconfig.planning.reading import Reading
from reconfig.trace.skeleton import tensors_of
from reconfig.widths.algebra import Extent, constant
from reconfig.widths.solver import Widths
from reconfig.widths.structure import Sizes, Structure

Count = Callable[[Sizes], int]


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


class Counts:
    """What a model counts as a function of its widths.

    Attributes:
        params: parameters, shared ones once, buffers not at all.
        flops: multiply-adds of one example in eval mode, by fvcore's rules.
    """

    def __init__(self, reading: Reading) -> None:
        names = [name for name, _ in tensors_of(reading.skeleton, "parameters")]
        batch = reading.structure.captures[0].batch
        flops = _flops(reading.structure, batch)
        self.params: Count = _params(reading.structure, names)
        self.flops: Count = lambda sizes: flops(sizes) // batch


def _params(structure: Structure, names: Iterable[str]) -> Polynomial:
    return Polynomial(structure.widths, ((1, structure.params[name]) for name in names))


def _flops(structure: Structure, batch: int) -> Polynomial:
    """Multiply-adds for ``batch`` examples."""
    # What is done to weights (standardisation) is done once, however many examples there are.
    costs = ((cost.factor * (batch if cost.once else 1), cost.extents) for cost in structure.costs)
    return Polynomial(structure.widths, costs)
