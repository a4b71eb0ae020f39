"""Numbers that a forward computes from a tensor's shape, as attention does: ``C // self.num_heads``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from math import gcd, lcm

from torch import fx

from reconfig.rewrite.verify import Lengths, Mismatch
from reconfig.trace.record import Capture
from reconfig.widths.algebra import Extent, number, parts, single_width
from reconfig.widths.structure import Sizes, Structure


@dataclass(frozen=True)
class Computed:
    """A number that a call was given: a width over a whole number. It has to be as long as ``extent``."""

    width: int
    over: int
    extent: Extent


def computed_numbers(structure: Structure, original: Capture, mismatch: Mismatch, sizes: Sizes) -> tuple[Computed, ...]:
    """What the numbers may have been computed from that came out another way at the mismatch than planned.

    Looked for are widths inside the calling module that, over a whole number, were the number before and are the one
    that the call was given now.
    """
    resolve, lengths = structure.widths.resolve, Lengths(structure, sizes)
    path = mismatch.node.meta["path"]
    inside = [node for node in original.nodes if f"{node.meta['path']}.".startswith(f"{path}.")]
    found: dict[Computed, None] = {}
    for before, after in mismatch.numbers:
        wanted = {resolve(extent) for size, extent in _dims(structure, [mismatch.node]) if size == before}
        for size, extent in set(_dims(structure, inside)):
            width = single_width(resolve(extent))
            if width is not None and size % before == 0 and lengths(extent) // (size // before) == after:
                found |= {Computed(width, size // before, each): None for each in wanted if parts(each)}
    return tuple(found)


def common_multiples(
    computed: Computed, divisors: Sequence[int], structure: Structure, kept: Set[int]
) -> Mapping[int, int]:
    """What both widths have to be multiples of, so that the number and what it has to be as long as round alike.

    Empty where ``divisors`` say so already, or one of the two is ``kept``.
    """
    within = parts(computed.extent)
    if len(computed.extent) > 1 or len(within) > 1 or kept & {computed.width, within[0].width}:
        return {}
    (term,), ((other, den),) = computed.extent, within
    factor = number(term)
    if divisors[other] * factor % den:
        return {}
    least = lcm(divisors[computed.width], computed.over * (divisors[other] * factor // den))
    length = least // computed.over * den
    wanted = {computed.width: least, other: lcm(divisors[other], length // gcd(length, factor))}
    new = {width: divisor for width, divisor in wanted.items() if divisor != divisors[width]}
    return new if all(structure.widths.sizes[width] % divisor == 0 for width, divisor in new.items()) else {}


def _dims(structure: Structure, nodes: list[fx.Node]) -> Iterator[tuple[int, Extent]]:
    for node in nodes:
        for value in structure.values_at(node):
            yield from zip(value.shape, value.dims, strict=True)
