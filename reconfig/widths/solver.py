"""The widths of one model: equations between them are solved as they come.

A width that turns out to be made of others is bound to them; one that must not change is frozen with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import gcd, lcm

from reconfig.widths.algebra import (
    Extent,
    Factor,
    Part,
    Term,
    const,
    constant,
    divided,
    merged,
    multiplied,
    number,
    parts,
    product,
    remaining_cuts,
    run,
    single_width,
    sole_width,
)
from reconfig.widths.reasons import Reason

# Channels-last flattening repeats a concat's terms; beyond this many the widths are frozen instead.
_LONGEST_REPEAT = 64


class Widths:
    """All widths of one model and what is known about them.

    ``apart`` lets the pieces of a concat that one width meets be of different lengths, where they have equal ones now.

    Attributes:
        sizes: channel count of each width in the model as it is.
        divisors: a new size must be a multiple of this (groups, heads, halves).
        frozen: the reason for which a width must keep its size.
    """

    def __init__(self, apart: bool = False) -> None:
        self._apart = apart
        self.sizes: list[int] = []
        self.divisors: list[int] = []
        self.frozen: dict[int, Reason] = {}
        self._bound: dict[int, Extent] = {}
        self._loose: set[int] = set()
        self._resolved: dict[Extent, Extent] = {}  # since the last width was bound

    # -- values -----------------------------------------------------------------------------------------------------

    def fresh(self, size: int) -> Extent:
        """A new, unconstrained width of this size; a size of 1 is a constant (it only ever broadcasts)."""
        if size <= 1:
            return const(size)
        self.sizes.append(size)
        self.divisors.append(1)
        return ((Part(len(self.sizes) - 1),),)

    def loose(self, size: int) -> Extent:
        """A length that a call was given as a number: a width, or a constant, as what it meets turns out to be."""
        extent = self.fresh(size)
        self._loose.update(part.width for part in parts(extent))
        return extent

    def size(self, extent: Extent, sizes: Sequence[int] | Mapping[int, int] | None = None) -> int:
        """How long the dimension is, with the model's own sizes or with ``sizes`` (of free widths)."""
        own = self.sizes if sizes is None else sizes
        resolved = extent if sizes is None else self.resolve(extent)
        if (width := single_width(resolved)) is not None:
            return own[width]
        total = 0
        for term in resolved:
            numerator = denominator = 1
            for factor in term:
                if isinstance(factor, int):
                    numerator *= factor
                else:
                    numerator *= own[factor.width]
                    denominator *= factor.den
            length, rest = divmod(numerator, denominator)
            if rest:
                raise ValueError(f"{term} is not whole for {[own[part.width] for part in parts((term,))]}")
            total += length
        return total

    def resolve(self, extent: Extent) -> Extent:
        """The extent in free widths only, all that is bound replaced by what it is bound to."""
        if (width := single_width(extent)) is not None and width not in self._bound:
            return extent  # nearly always
        if extent not in self._resolved:
            self._resolved[extent] = self._resolve(extent)
        return self._resolved[extent]

    def _resolve(self, extent: Extent) -> Extent:
        if self._bound.keys().isdisjoint([part.width for part in parts(extent)]):
            return extent
        terms: list[Term] = []
        for term in extent:
            terms.extend(self._resolve_term(term))
        return merged(terms)

    def _resolve_term(self, term: Term) -> list[Term]:
        alternatives: list[list[Factor]] = [[]]
        for factor in term:
            if isinstance(factor, int) or factor.width not in self._bound:
                choices: list[Term] = [(factor,)]
            else:
                bound = self.resolve(self._bound[factor.width])
                self._bound[factor.width] = bound
                choices = [divided(choice, factor.den) for choice in bound]
            alternatives = [[*left, *right] for left in alternatives for right in choices]
        return [product(factors) for factors in alternatives]

    def free(self) -> list[int]:
        """The widths that nothing else determines."""
        return [width for width in range(len(self.sizes)) if width not in self._bound]

    # -- facts ------------------------------------------------------------------------------------------------------

    def freeze(self, extent: Extent, reason: Reason) -> None:
        """Every width in ``extent`` keeps its size. The first reason given stays."""
        for part in parts(self.resolve(extent)):
            self.frozen.setdefault(part.width, reason)

    def pin(self, extent: Extent) -> None:
        """These are no channel counts but constants (a kernel size)."""
        for part in parts(self.resolve(extent)):
            self._bound[part.width] = const(self.sizes[part.width])
            self._resolved.clear()

    def settle(self) -> None:
        """Lengths that were given as numbers, and have met no width by now, are numbers."""
        for width in self._loose - self._bound.keys():
            self.pin(((Part(width),),))

    def divisible(self, extent: Extent, divisor: int) -> None:
        """Every term of ``extent`` must stay a multiple of ``divisor``."""
        for term in self.resolve(extent):
            if constant((term,)):
                continue
            left = divisor // gcd(number(term), divisor)
            if left > 1:
                for part in parts((term,)):
                    self.divisors[part.width] = lcm(self.divisors[part.width], part.den * left)

    def divide(self, extent: Extent, divisor: int, reason: Reason) -> Extent:
        """``extent / divisor``, which from now on has to be whole; frozen where its terms are not."""
        if not self._each_divisible(extent, divisor):
            self.freeze(extent, reason)
            return const(self.size(extent) // divisor)
        self.divisible(extent, divisor)
        return merged([divided(term, divisor) for term in self.resolve(extent)])

    def runs(self, extent: Extent, length: int) -> Extent | None:
        """How many runs of ``length`` channels ``extent`` is made of, all whole from now on; None if they are not."""
        for term in self.resolve(extent):
            width = sole_width(term)
            several = width is not None and self.sizes[width] % length == 0 and self.sizes[width] > length
            if not several and run(term) % length:
                return None
        for term in self.resolve(extent):
            if (width := sole_width(term)) is not None and width not in self._bound:
                self._bind(width, (product([*self.fresh(self.sizes[width] // length)[0], length]),))
        return merged([product([*term[:-1], run(term) // length]) for term in self.resolve(extent)])

    def _each_divisible(self, extent: Extent, divisor: int) -> bool:
        return all(self.size((term,)) % divisor == 0 for term in self.resolve(extent))

    def multiply(self, extents: Sequence[Extent]) -> Extent | None:
        """The extent of dimensions flattened into one (outer to inner), or None where no sum of terms can say it."""
        factors = [self.resolve(extent) for extent in extents]
        several = [index for index, extent in enumerate(factors) if len(extent) > 1]
        if not several:
            return (product(factor for extent in factors for factor in extent[0]),)
        (middle,) = several if len(several) == 1 else (None,)
        if middle is None:
            return None
        before = product(factor for extent in factors[:middle] for factor in extent[0])
        after = [factor for extent in factors[middle + 1 :] for factor in extent[0]]
        if not constant((before,)) or number(before) > _LONGEST_REPEAT:
            return None
        inner = [product([*term, *after]) for term in factors[middle]]
        return merged(inner * number(before))

    def tie(self, left: Extent, right: Extent, reason: Reason) -> None:
        """The two extents are equal, term by term, now and after any change.

        Unequal cuts are cut further until they match. What cannot be made equal is frozen, with ``reason``.
        """
        ours, theirs = list(self.resolve(left)), list(self.resolve(right))
        if self.size(tuple(ours)) != self.size(tuple(theirs)):
            raise ValueError(f"cannot tie {self.size(left)} to {self.size(right)}: {reason.text}")
        while ours and theirs:
            first, second = self._take_matching(ours, theirs, reason)
            self._equate(first, second, reason)
            ours, theirs = list(self.resolve(tuple(ours))), list(self.resolve(tuple(theirs)))

    def adopt(self, own: Extent, extent: Extent, reason: Reason) -> None:
        """``own``, a parameter's dimension, is whatever ``extent`` is made of.

        The same equation as ``tie``; but a parameter has no say in how a concat is divided, so pieces of equal length
        stay independent of each other.
        """
        (term, *others) = self.resolve(own)
        resolved = self.resolve(extent)
        width = sole_width(term)
        free = width is not None and not others and all(part.width != width for part in parts(resolved))
        if (
            width is not None
            and free
            and not constant(resolved)
            and self.size(own) == self.size(extent)
            and self._each_divisible(resolved, self.divisors[width])
        ):
            self._bind(width, resolved)
        else:
            self.tie(own, extent, reason)

    def cut(self, extent: Extent, lengths: Sequence[int], reason: Reason) -> list[Extent]:
        """``extent`` cut into consecutive pieces of these lengths.

        Cuts between terms are free. A width cut into equal pieces stays divisible; one cut unequally falls into new
        widths, one for each piece.
        """
        queue = list(self.resolve(extent))
        pieces: list[Extent] = []
        for length in lengths:
            piece: list[Term] = []
            missing = length
            while missing > 0:
                term = queue.pop(0)
                size = self.size((term,))
                if size > missing:
                    rest = remaining_cuts(size, missing, lengths[len(pieces) + 1 :])
                    replaced = self._cut_term(term, [missing, *rest], reason)
                    term, *others = replaced
                    queue = [*others, *queue]
                    size = missing
                piece.append(term)
                missing -= size
            pieces.append(merged(piece))
            queue = list(self.resolve(tuple(queue)))
        return [self.resolve(piece) for piece in pieces]

    # -- solving ----------------------------------------------------------------------------------------------------

    def _cut_term(self, term: Term, lengths: Sequence[int], reason: Reason) -> list[Term]:
        if constant((term,)):
            return [(length,) for length in lengths]
        if len(set(lengths)) == 1 and self._can_divide(term, len(lengths)):
            self.divisible((term,), len(lengths))
            return [divided(term, len(lengths))] * len(lengths)
        width = sole_width(term)
        if width is not None and self.divisors[width] == 1:
            pieces = [self.fresh(length) for length in lengths]
            self._bind(width, tuple(piece[0] for piece in pieces))
            return [piece[0] for piece in pieces]
        self.freeze((term,), reason)
        return [(length,) for length in lengths]

    def _can_divide(self, term: Term, count: int) -> bool:
        return number(term) % count == 0 or any(
            self.sizes[part.width] % (part.den * count) == 0 for part in parts((term,))
        )

    def _take_matching(self, ours: list[Term], theirs: list[Term], reason: Reason) -> tuple[list[Term], list[Term]]:
        """Pop from the front of both the fewest terms of equal length, cutting where the ends never meet."""
        first, second = [ours.pop(0)], [theirs.pop(0)]
        length, other = self.size(tuple(first)), self.size(tuple(second))
        while length != other:
            source, taken = (ours, first) if length < other else (theirs, second)
            taken.append(source.pop(0))
            length, other = self.size(tuple(first)), self.size(tuple(second))
        if len(first) > 1 and len(second) > 1:
            self._align(first, second, ours, theirs, reason)
        return first, second

    def _align(
        self, first: list[Term], second: list[Term], ours: list[Term], theirs: list[Term], reason: Reason
    ) -> None:
        """Both sides have several terms that end together only at the very end: cut the longer head at the shorter."""
        longer, shorter = (first, second) if self.size((first[0],)) > self.size((second[0],)) else (second, first)
        head, cut = longer[0], self.size((shorter[0],))
        pieces = self._cut_term(head, [cut, self.size((head,)) - cut], reason)
        rest_longer, rest_shorter = [pieces[1], *longer[1:]], shorter[1:]
        first[:], second[:] = [pieces[0]], [shorter[0]]
        (ours if longer is first else theirs)[:0] = rest_longer
        (theirs if longer is first else ours)[:0] = rest_shorter

    def _equate(self, first: list[Term], second: list[Term], reason: Reason) -> None:
        if first == second:
            return
        if constant(tuple(first)) or constant(tuple(second)):
            self._hold((*first, *second), reason)
            return
        if len(first) == 1 and len(second) == 1:
            self._equate_terms(first[0], second[0], reason)
            return
        (whole,), pieces = (first, second) if len(first) == 1 else (second, first)
        lengths = [self.size((piece,)) for piece in pieces]
        variable = not any(constant((piece,)) for piece in pieces)
        halves = variable and len(set(lengths)) == 1 and self._can_divide(whole, len(pieces))
        width = sole_width(whole)
        bindable = (
            width is not None
            and all(part.width != width for part in parts(tuple(pieces)))
            and self._each_divisible(tuple(pieces), self.divisors[width])
        )
        if halves and not (self._apart and bindable):
            # A width halved in equal pieces (a factorized reduction) stays halved.
            self.divisible((whole,), len(pieces))
            for piece in pieces:
                self.tie((piece,), (divided(self._current(whole), len(pieces)),), reason)
        elif width is not None and bindable:
            self._bind(width, tuple(pieces))
        else:
            self.freeze((whole, *pieces), reason)

    def _hold(self, extent: Extent, reason: Reason) -> None:
        """Its widths equal numbers: they are frozen, or numbers themselves where they were loose."""
        for term in extent:
            if sole_width(term) in self._loose:
                self.pin((term,))
            else:
                self.freeze((term,), reason)

    def _current(self, term: Term) -> Term:
        resolved = self.resolve((term,))
        return resolved[0] if len(resolved) == 1 else term

    def _equate_terms(self, left: Term, right: Term, reason: Reason) -> None:
        ours, theirs = parts((left,)), parts((right,))
        if len(ours) != 1 or len(theirs) != 1:
            self._equate_products(left, right, reason)
            return
        (a,), (b,) = ours, theirs
        if a.width == b.width:
            return  # equal sizes of one width: equal for every size
        ratio = Fraction(number(left) * b.den, number(right) * a.den)  # size of b for one of a
        if ratio == 1 and len(left) == len(right) == 1:
            self._bind(max(a.width, b.width), ((Part(min(a.width, b.width)),),))
        elif ratio.numerator == 1 and len(right) == 1:
            self._bind(b.width, (multiplied(left, b.den),))  # b = a / n
        elif ratio.denominator == 1 and len(left) == 1:
            self._bind(a.width, (multiplied(right, a.den),))  # a = b / n
        elif len(right) == 1:
            self._bind(b.width, (multiplied(left, b.den),))  # b keeps the order of a channel shuffle
        elif len(left) == 1:
            self._bind(a.width, (multiplied(right, a.den),))
        else:
            unit = Part(len(self.sizes))
            self.fresh(gcd(self.sizes[a.width], self.sizes[b.width]))
            per_a, per_b = (
                self.sizes[a.width] // self.sizes[unit.width],
                self.sizes[b.width] // self.sizes[unit.width],
            )
            if Fraction(per_b, per_a) != ratio:
                self.freeze((left, right), reason)
                return
            self._bind(a.width, (product([unit, per_a]),))
            self._bind(b.width, (product([unit, per_b]),))

    def _equate_products(self, left: Term, right: Term, reason: Reason) -> None:
        """Products of several widths (a weight seen as a matrix) are equal where they are so factor by factor."""
        same_shape = len(left) == len(right) and all(
            self.size(((a,),)) == self.size(((b,),)) for a, b in zip(left, right, strict=True)
        )
        if not same_shape:
            self.freeze((left, right), reason)
            return
        for a, b in zip(left, right, strict=True):
            self.tie(((a,),), ((b,),), reason)

    def _bind(self, width: int, extent: Extent) -> None:
        """From now on ``width`` is ``extent``; what was known about it is known about that."""
        self._bound[width] = extent
        self._resolved.clear()
        if width not in self._loose:
            self._loose.difference_update(part.width for part in parts(extent))
        if self.divisors[width] > 1:
            self.divisible(extent, self.divisors[width])
        for part in parts(extent):
            if part.den > 1:
                self.divisors[part.width] = lcm(self.divisors[part.width], part.den)
        if width in self.frozen:
            self.freeze(extent, self.frozen.pop(width))
