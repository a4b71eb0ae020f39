"""Make a plan: read a model, change its depth, scale its widths until the rewritten skeleton agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from reconfig.errors import BudgetError, DepthError, FrozenError, VerifyError
from reconfig.planning.agree import agree
from reconfig.planning.budget import Budget, read_budget
from reconfig.planning.counts import Counts
from reconfig.planning.depth import DenseEdit, dense_changes, depth_edits
from reconfig.planning.outputs import Outputs, check_outputs, kept_widths
from reconfig.planning.plan import Plan
from reconfig.planning.published import published_edits
from reconfig.planning.reading import Reading, read_model, read_probe
from reconfig.planning.summary import changing_channels, frozen_widths, stage_plans
from reconfig.rewrite.depth import DepthEdit, edit_depth, origin, within
from reconfig.rewrite.surgery import AttributeEdit, attribute_edits, resize
from reconfig.rewrite.weights import check_weights
from reconfig.rule import Rule, check_gamma
from reconfig.trace.example import Probe, check_model
from reconfig.trace.record import capture
from reconfig.trace.skeleton import make_skeleton, tensors_of
from reconfig.widths.structure import Attribute, Sizes, Structure

Example = Tensor | tuple[Tensor, ...]


def make_plan(
    model: nn.Module,
    rule: str | Rule,
    *,
    gamma: float,
    budget: Budget | None,
    example_input: Example | None,
    weights: str,
    stages: Mapping[str, int] | None,
    outputs: Outputs,
    strict: bool,
) -> Plan:
    """What ``rule`` changes in ``model``; see ``reconfig.plan``."""
    check_model(model)
    parsed, gamma = Rule.parse(rule), check_gamma(gamma)
    check_weights(weights)
    check_outputs(outputs)
    if budget is not None and gamma != 1.0:
        raise BudgetError(f"gamma={gamma:g} and budget={budget!r}: a budget solves for gamma, so give one of the two")
    original = read_model(model, example_input, stages)
    before = {name: tuple(tensor.shape) for name, tensor in tensors_of(model)}
    edited, edits, numbers = _with_depth(original, parsed, stages, weights)
    counts, own = Counts(edited), original.structure.own_sizes()
    counts_before = counts if edited is original else Counts(original)
    params_before, flops_before = counts_before.params(own), counts_before.flops(own)
    target = None
    if budget is not None:
        target = read_budget(budget, {"params": params_before, "flops": flops_before})
    result = agree(edited, parsed, gamma, target, counts, kept_widths(edited, outputs))
    attributes = numbers + result.attributes
    plan = Plan(
        model=type(model).__name__,
        rule=str(parsed),
        gamma=result.gamma,
        weights=weights,
        budget=target.number if target else None,
        budget_of=target.unit if target else None,
        stages=stage_plans(original, edited, parsed, result),
        frozen=frozen_widths(edited, parsed, result),
        params_before=params_before,
        params=counts.params(result.sizes),
        flops_before=flops_before,
        flops=counts.flops(result.sizes),
        before=before,
        after=result.shapes,
        depth=edits,
        attributes=attributes + published_edits(edited, result.sizes, attributes, other_depth=bool(edits)),
        inputs=tuple((tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for tensor in original.inputs),
        channels=changing_channels(edited.structure, result.sizes),
        device=original.inputs[0].device.type,
    )
    if strict and plan.frozen:
        first = plan.frozen[0]
        raise FrozenError(
            f"{len(plan.frozen)} widths cannot be scaled, the first in stage {first.stage} "
            f"({', '.join(first.layers[:3])}): {first.reason}; "
            + (f"{first.remedy}, or " if first.remedy else "")
            + "strict=False keeps them as they are"
        )
    if strict and plan.unscaled():
        raise FrozenError(f"{plan.unscaled()[0]}; strict=False leaves it so")
    return plan


def _with_depth(
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
    return read_probe(Probe(skeleton, original.inputs, first), stages), edits, numbers


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
