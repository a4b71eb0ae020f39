"""What a mismatch comes from: a number that a module keeps and that has to follow, or one written in the code."""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx, nn

from reconfig.rewrite.remedy import remedy
from reconfig.rewrite.surgery import holds
from reconfig.rewrite.verify import Lengths, Mismatch, changes_at, numbers_in
from reconfig.trace.record import Capture
from reconfig.widths.algebra import Extent
from reconfig.widths.reasons import FrozenKind, Reason
from reconfig.widths.site import describe
from reconfig.widths.structure import Attribute, Sizes, Structure


def stale_numbers(
    model: nn.Module, structure: Structure, original: Capture, mismatch: Mismatch, sizes: Sizes
) -> tuple[Attribute, ...]:
    """Numbers that modules keep and that explain the mismatch: the same attribute for all calls from the same line.

    They come in the order of the calls: where one number may stand for two widths, the later call's is taken. None at
    all means that the number is written in the code, so the widths must stay.
    """
    lengths = Lengths(structure, sizes)
    line = (mismatch.node.target, mismatch.node.meta["source"])
    found: dict[Attribute, None] = {}
    for node in original.nodes:
        if (node.target, node.meta["source"]) != line:
            continue
        path = node.meta["path"]
        kept = vars(model.get_submodule(path))
        for old, extent in changes_at(structure, lengths, node):
            found |= {
                Attribute(path, name, extent): None
                for name, value in kept.items()
                if not name.startswith("_") and holds(value, old)
            }
    return tuple(found)


def upstream(structure: Structure, original: Capture, mismatch: Mismatch, sizes: Sizes) -> list[Extent]:
    """What changes at the last call before a mismatch around which nothing does: its sizes were computed from it."""
    return _first_change(structure, sizes, reversed(original.nodes[: original.nodes.index(mismatch.node)]))


def downstream(structure: Structure, original: Capture, mismatch: Mismatch, sizes: Sizes) -> list[Extent]:
    """What changes at the first call behind a mismatch around which something does: the code may have asserted it."""
    return _first_change(structure, sizes, original.nodes[original.nodes.index(mismatch.node) + 1 :])


def _first_change(structure: Structure, sizes: Sizes, nodes: Iterable[fx.Node]) -> list[Extent]:
    lengths = Lengths(structure, sizes)
    found = (changes_at(structure, lengths, node) for node in nodes)
    return [extent for _, extent in next(filter(None, found), ())]


def literal_reason(mismatch: Mismatch) -> Reason:
    """Why the widths at a mismatch have to stay."""
    numbers = sorted({old for old, _ in mismatch.changes} & numbers_in(mismatch.node))
    what = f"the number {numbers[0]} written in the code" if numbers else "sizes that do not follow the widths"
    order = remedy(mismatch.node, numbers[0] if numbers else None)
    return Reason(FrozenKind.LITERAL, f"{what}: {describe(mismatch.node)}", order)
