"""The model at another depth: blocks dropped or cloned on a skeleton, which is then read anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from reconfig.errors import DepthError, VerifyError
from reconfig.planning.depth import DenseEdit, dense_changes, depth_edits
from reconfig.planning.reading import Reading, read_probe
from reconfig.rewrite.depth import DepthEdit, edit_depth, origin
from reconfig.rewrite.surgery import AttributeEdit, attribute_edits, resize
from reconfig.rule import Rule
from reconfig.trace.example import Probe
from reconfig.trace.record import capture
from reconfig.trace.skeleton import make_skeleton, tensors_of, within
from reconfig.widths.structure import Attribute, Sizes, Structure


def with_depth(
    original: Reading, rule: Rule, stages: Mapping[str, int] | None, weights: str
) -> tuple[Reading, tuple[DepthEdit, ...], tuple[AttributeEdit, ...]]:
    """The model at the rule's depth, read on a skeleton of its own, and how it came there.

    Returns:
        The reading (the same where the depth stays), the edits of its containers, and the edits of numbers that modules
        keep about a concat whose length changed because dense layers came or went.
    """
    found = original.placement.stages
    depths = rule.depths(len(found))
    edits, dense = depth_edits(original.skeleton, original.structure.captures[0], found, depths) if depths else ((), ())
    if not edits:
        return original, (), ()
    if dense and weights == "inherit":
        raise DepthError(
            f"rule {rule} changes the number of dense layers, and what reads their concat has no weights to inherit: "
            "give weights='fresh', or a rule of widths alone"
        )
    skeleton = make_skeleton(original.skeleton, original.inputs[0].device.type)
    edit_depth(skeleton, edits)
    numbers = _fit_concats(skeleton, original.structure, edits, dense) if dense else ()
    first = capture(skeleton, original.inputs)
    if first.error is not None:
        raise VerifyError(f"with the depth of rule {rule} the model does not run: {first.error}") from first.error
    grouping = original.structure.grouping
    keep = None if grouping is None else grouping.kept
    start = Probe(skeleton, original.inputs, first)
    reading = read_probe(start, stages, keep)
    if len(reading.placement.stages) != len(found):
        # What is left of a stage may not tell it from its neighbour: it is as it was in the original.
        stage_of = {layer: stage.index for stage in found for layer in stage.layers}
        layers = [(name, origin(name, edits)) for name, _ in skeleton.named_modules() if name]
        reading = read_probe(start, {name: stage_of[own] for name, own in layers if own in stage_of}, keep)
    return reading, edits, numbers


def _fit_concats(
    skeleton: nn.Module, structure: Structure, edits: Sequence[DepthEdit], dense: Sequence[DenseEdit]
) -> tuple[AttributeEdit, ...]:
    """Fit what reads the concats of dense layers to their new lengths, in place; the numbers that changed with them."""
    widths = structure.widths
    own = structure.own_sizes()
    changes = [change for edit in dense for change in dense_changes(structure, edit)]

    def sizes(name: str) -> Sizes:
        return own | {width: size for module, new in changes if within(name, module) for width, size in new.items()}

    shapes = {
        name: tuple(widths.size(extent, sizes(name)) for extent in structure.params[origin(name, edits)])
        for name, _ in tensors_of(skeleton)
        if origin(name, edits) in structure.params
    }
    kept: dict[str, list[Attribute]] = {}
    for attribute in structure.attributes:
        kept.setdefault(attribute.path, []).append(attribute)
    numbers: list[AttributeEdit] = []
    for path, _ in skeleton.named_modules():
        here = [replace(attribute, path=path) for attribute in kept.get(origin(path, edits), ())]
        numbers += attribute_edits(skeleton, here, widths, sizes(path))
    resize(skeleton, shapes, numbers)
    return tuple(numbers)
