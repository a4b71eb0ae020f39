"""Make a plan: read a model, change its depth, scale its widths until the rewritten skeleton agrees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from reconfig.errors import BudgetError, FrozenError
from reconfig.planning.agree import agree
from reconfig.planning.balance import solve_depth
from reconfig.planning.budget import Budget, read_budget
from reconfig.planning.counts import Counts
from reconfig.planning.deepen import with_depth
from reconfig.planning.outputs import Outputs, check_outputs, kept_widths
from reconfig.planning.plan import Plan
from reconfig.planning.published import published_edits
from reconfig.planning.reading import Reading, read_model
from reconfig.planning.summary import changing_channels, frozen_widths, stage_plans
from reconfig.rewrite.weights import check_weights
from reconfig.rule import Keep, Rule, check_gamma
from reconfig.trace.example import check_model
from reconfig.trace.skeleton import tensors_of

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
    if budget is None and parsed.open:
        raise BudgetError(
            f"rule {rule} has a ratio, which leaves the scale open: say what the result has to count, as in "
            f"reconfig.plan(model, {str(rule)!r}, budget='params') or budget=('flops', 1_000_000_000)"
        )
    how = _How(parsed, gamma, budget, example_input, weights, stages, outputs)
    plan = _made(model, how, parsed.keep)
    if parsed.keep is None and plan.grouping is not None and plan.grouping.kept == "group-width" and plan.frozen:
        # Whole groups keep other widths from scaling here, as where two stages share them: then their number stays.
        other = _made(model, how, "groups")
        plan = other if _channels_frozen(other) < _channels_frozen(plan) else plan
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


@dataclass(frozen=True)
class _How:
    """What a plan is made by; see ``reconfig.plan``."""

    rule: Rule
    gamma: float
    budget: Budget | None
    example_input: Example | None
    weights: str
    stages: Mapping[str, int] | None
    outputs: Outputs


def _channels_frozen(plan: Plan) -> int:
    return sum(frozen.width for frozen in plan.frozen)


def _made(model: nn.Module, how: _How, keep: Keep | None) -> Plan:
    """The plan with grouped convolutions that keep ``keep``."""
    parsed, stages, weights, outputs = how.rule, how.stages, how.weights, how.outputs
    original = read_model(model, how.example_input, stages, keep)
    before = {name: tuple(tensor.shape) for name, tensor in tensors_of(model)}
    counts_before, own = Counts(original), original.structure.own_sizes()
    params_before, flops_before = counts_before.params(own), counts_before.flops(own)
    target = None
    if how.budget is not None:
        target = read_budget(how.budget, {"params": params_before, "flops": flops_before})
    settled = parsed
    if parsed.depth_ratio is not None and target is not None:

        def at_depth(at: Rule) -> Reading:
            return with_depth(original, at, stages, weights)[0]

        settled = solve_depth(parsed, original, target, at_depth, outputs)
    edited, edits, numbers = with_depth(original, settled, stages, weights)
    counts = counts_before if edited is original else Counts(edited)
    widths_target = target if parsed.solves_gamma else None
    result = agree(edited, settled, how.gamma, widths_target, counts, kept_widths(edited, outputs))
    attributes = numbers + result.attributes
    return Plan(
        model=type(model).__name__,
        rule=str(parsed),
        gamma=result.gamma,
        weights=weights,
        budget=target.number if target else None,
        budget_of=target.unit if target else None,
        grouping=edited.structure.grouping,
        stages=stage_plans(original, edited, settled, result),
        frozen=frozen_widths(edited, settled, result),
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
