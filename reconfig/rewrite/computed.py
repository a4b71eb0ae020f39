"""Numbers that a forward computes from a tensor's shape, as attention does: ``C // self.num_heads``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from math import gcd, lcm

from torch import fx

from reconfig.rewrite.verify import Lengths, Mismatch
from reconfig.trace.record import Capture
from reconfig.widths.algebra import Extent, number, parts
from reconfig.widths.structure import Sizes, Structure


@dataclass(frozen=True)
class Computed:
    """A number that a call was given: the length of ``source`` over a whole number. It has to be that of ``extent``."""

    source: Extent
    over: int
    extent: Extent


def computed_numbers(structure: Structure, original: Capture, mismatch: Mismatch, sizes: Sizes) -> tuple[Computed, ...]:
    """What the numbers may have been computed from that came out another way at the mismatch than planned.

    Looked for are dimensions inside the calling module that, over a whole number, were the number before and are the
    one that the call was given now.
    """
    resolve, lengths = structure.widths.resolve, Lengths(structure, sizes)
    path = mismatch.node.meta["path"]
    inside = [node for node in original.nodes if f"{node.meta['path']}.".startswith(f"{path}.")]
    found: dict[Computed, None] = {}
    for before, after in mismatch.numbers:
        wanted = {resolve(extent) for size, extent in _dims(structure, [mismatch.node]) if size == before}
        for size, extent in set(_dims(structure, inside)):
            source = resolve(extent)
            if _has_one_width(source) and size % before == 0 and lengths(extent) // (size // before) == after:
                found |= {Computed(source, size // before, each): None for each in wanted if _has_one_width(each)}
    return tuple(found)


def common_multiples(
    computed: Computed, divisors: Sequence[int], structure: Structure, kept: Set[int]
) -> Mapping[int, int]:
    """What both widths have to be multiples of, so that the number and what it has to be as long as round alike.

    Empty where ``divisors`` say so already, or one of the two is ``kept``.
    """
    (own,), (other,) = parts(computed.source), parts(computed.extent)
    steps = _step(computed.source, divisors), _step(computed.extent, divisors)
    if kept & {own.width, other.width} or not all(steps):
        return {}
    least = lcm(steps[0], computed.over * steps[1])
    wanted = {
        own.width: _divisor(computed.source, least, divisors),
        other.width: _divisor(computed.extent, least // computed.over, divisors),
    }
    new = {width: divisor for width, divisor in wanted.items() if divisor != divisors[width]}
    return new if all(structure.widths.sizes[width] % divisor == 0 for width, divisor in new.items()) else {}


def _has_one_width(extent: Extent) -> bool:
    return len(extent) == 1 and len(parts(extent)) == 1


def _step(extent: Extent, divisors: Sequence[int]) -> int:
    """What the length of an extent of one width is a multiple of; 0 where that is not whole."""
    (term,), ((width, den),) = extent, parts(extent)
    whole, rest = divmod(number(term) * divisors[width], den)
    return 0 if rest else whole


def _divisor(extent: Extent, multiple: int, divisors: Sequence[int]) -> int:
    """What the width of an extent has to be a multiple of, for its length to be one of ``multiple``."""
    (term,), ((width, den),) = extent, parts(extent)
    return lcm(divisors[width], multiple * den // gcd(multiple * den, number(term)))


def _dims(structure: Structure, nodes: list[fx.Node]) -> Iterator[tuple[int, Extent]]:
    for node in nodes:
        for value in structure.values_at(node):
            yield from zip(value.shape, value.dims, strict=True)
