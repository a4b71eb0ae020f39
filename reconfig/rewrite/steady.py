"""Whether a forward gives the same shapes whatever the weights are."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx, nn

from reconfig.rewrite.surgery import AttributeEdit, resize, set_numbers
from reconfig.trace.record import Capture, capture
from reconfig.trace.skeleton import make_skeleton
from reconfig.widths.structure import Structure


def first_unsteady(
    rewritten: nn.Module, structure: Structure, original: Capture, edits: Sequence[AttributeEdit]
) -> fx.Node | None:
    """The first call of ``original`` that is another, or gives another shape, on other weights; None where none is.

    Args:
        rewritten: the skeleton in its new shapes, only read. Its resized tensors have new values.
        structure: has the shapes of before.
        original: what the network did with its own values.
        edits: the numbers of modules that were changed in ``rewritten``.
    """
    anew = make_skeleton(rewritten, original.inputs[0].device.type)
    set_numbers(anew, {(edit.path, edit.name): edit.old for edit in edits})
    own = {name: tuple(map(structure.widths.size, dims)) for name, dims in structure.params.items()}
    resize(anew, own, ())
    other = capture(anew, original.inputs, training=original.training)
    for node, again in zip(original.nodes, other.nodes, strict=False):
        if node.target != again.target or node.meta["shape"] != again.meta["shape"]:
            return node
    return None
