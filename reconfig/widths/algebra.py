"""The algebra of widths: what every tensor dimension of a model is made of.

A *width* is one channel count; all that must stay equal shares it. The size of a tensor dimension is an `Extent`: a sum
of terms in the order in which they lie in memory (a concat has several), each term a product of factors (outer
to inner), each factor a number or a width divided by a number:

    512 channels                    ((w,),)
    flattened 512 x 7 x 7           ((w, 49),)
    a concat of two                 ((a,), (b,))
    a grouped convolution's input   ((w/32,),)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd, prod
from typing import NamedTuple


class Part(NamedTuple):
    """A width divided by a whole number."""

    width: int
    den: int = 1


Factor = int | Part
Term = tuple[Factor, ...]
Extent = tuple[Term, ...]
Dims = tuple[Extent, ...]


def const(size: int) -> Extent:
    """The extent of a dimension that never changes."""
    return ((size,),)


def constant(extent: Extent) -> bool:
    """Whether no width is in it."""
    return all(isinstance(factor, int) for term in extent for factor in term)


def parts(extent: Extent) -> list[Part]:
    """The widths in it, as they are divided."""
    return [factor for term in extent for factor in term if not isinstance(factor, int)]


def product(factors: Iterable[Factor]) -> Term:
    """A term with neighbouring numbers multiplied and ones left out."""
    result: list[Factor] = []
    for factor in factors:
        if isinstance(factor, int) and result and isinstance(result[-1], int):
            result[-1] *= factor
        elif factor != 1:
            result.append(factor)
    return tuple(result) or (1,)


def sole_width(term: Term) -> int | None:
    """The width, where the term is one by itself."""
    return term[0].width if len(term) == 1 and isinstance(term[0], Part) and term[0].den == 1 else None


def single_width(extent: Extent) -> int | None:
    """The width, where the extent is one by itself."""
    return sole_width(extent[0]) if len(extent) == 1 else None


def number(term: Term) -> int:
    """The product of the numbers in it."""
    return prod(factor for factor in term if isinstance(factor, int))


def divided(term: Term, divisor: int) -> Term:
    """``term / divisor``: taken out of its numbers as far as they go, the rest out of its first width."""
    if divisor == 1:
        return term
    result: list[Factor] = []
    for factor in term:
        if isinstance(factor, int) and divisor > 1:
            common = gcd(factor, divisor)
            factor, divisor = factor // common, divisor // common
        result.append(factor)
    if divisor > 1:
        index = next((i for i, factor in enumerate(result) if isinstance(factor, Part)), None)
        if index is None:
            raise ValueError(f"{term} is not divisible by {divisor}")
        part = result[index]
        assert isinstance(part, Part)
        result[index] = Part(part.width, part.den * divisor)
    return product(result)


def multiplied(term: Term, factor: int) -> Term:
    """``term * factor``, out of a denominator where there is one; what is left lies outside: pieces in a row."""
    result: list[Factor] = []
    for item in term:
        if isinstance(item, Part) and factor > 1:
            common = gcd(item.den, factor)
            item, factor = Part(item.width, item.den // common), factor // common
        result.append(item)
    return product([factor, *result])


def run(term: Term) -> int:
    """How many neighbouring channels one of its widths stands for, as those of a group."""
    return term[-1] if isinstance(term[-1], int) else 1


def merged(terms: Iterable[Term]) -> Extent:
    """Neighbouring constants are one constant; empty ones vanish."""
    result: list[Term] = []
    for term in terms:
        if constant((term,)):
            size = number(term)
            if size == 0:
                continue
            if result and constant((result[-1],)):
                result[-1] = (number(result[-1]) + size,)
                continue
            term = (size,)
        result.append(term)
    return tuple(result) or const(0)


def remaining_cuts(size: int, first: int, lengths: Sequence[int]) -> list[int]:
    """How the rest of a term of ``size`` is cut by the lengths that follow the ``first``."""
    rest, cuts = size - first, []
    for length in lengths:
        if rest <= 0:
            break
        cuts.append(min(length, rest))
        rest -= cuts[-1]
    return [*cuts, rest] if rest > 0 else cuts
