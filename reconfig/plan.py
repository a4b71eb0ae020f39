"""A plan: everything that changes between a model and its -R variant, as data. And how one is made.

Decide first, act later: ``make_plan`` works on skeletons alone and allocates no weights; ``Plan.apply`` does what the
plan says to a copy of a model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from reconfig.budget import (
    Scaling,
    Sizes,
    as_number,
    flops_polynomial,
    meet,
    parameter_polynomial,
)
from reconfig.capture import Capture, Shape, capture, preserved_rng
from reconfig.depth import DenseEdit, DepthEdit, dense_changes, depth_edits, edit_depth, origin, within
from reconfig.draw import plan_svg, plan_table
from reconfig.errors import BudgetError, DepthError, FrozenError, PlanError, VerifyError
from reconfig.inherit import Channels, Resized, read_extents
from reconfig.inputs import Probe, check_model, probe
from reconfig.ops import INPUT, OUTPUT, Attribute, Structure, channels_of, propagate
from reconfig.rule import Rule, check_gamma
from reconfig.skeleton import modules_of, skeleton, tensors_of
from reconfig.stages import HEAD, Placement, place_widths
from reconfig.surgery import AttributeEdit, follow, materialise, resize
from reconfig.verify import Mismatch, first_mismatch, literal_reason, repair, trains, upstream
from reconfig.weights import WEIGHTS, check_weights, reset_own
from reconfig.widths import Widths

_FORMAT = 1
_NATURAL = (INPUT, OUTPUT, HEAD)  # what no rule asks to scale


@dataclass(frozen=True)
class StagePlan:
    """One stage before and after.

    Attributes:
        index: 1 for the first.
        reduction: input size over this stage's size.
        resolution: positions, e.g. (height, width), at the stage's output.
        blocks: number of blocks before and after; 0 for a plain stage.
        width: channels at the stage's output before and after.
        params: parameters of the stage's layers before and after.
        dense: whether the stage is densely connected.
    """

    index: int
    reduction: int
    resolution: tuple[int, ...]
    blocks: tuple[int, int]
    width: tuple[int, int]
    params: tuple[int, int]
    dense: bool


@dataclass(frozen=True)
class Frozen:
    """A width that the rule asks to scale and that keeps its size.

    Attributes:
        stage: the stage it belongs to, 1 for the first.
        layers: module names of the layers that make it.
        width: its channel count.
        reason: why it cannot be scaled soundly.
    """

    stage: int
    layers: tuple[str, ...]
    width: int
    reason: str


@dataclass(frozen=True)
class Plan:
    """What ``apply`` does to a model; printing it shows a table.

    Attributes:
        model: class name of the model that it was made for.
        rule: the rule, as text.
        gamma: the factor on every stage, given or solved.
        weights: how the result is filled.
        budget: the count that gamma was solved for, or None.
        budget_of: what the budget counts, "params" or "flops".
        stages: the stages before and after.
        frozen: what had to keep its width, and why.
        params_before, params: parameters (shared ones once).
        flops_before, flops: multiply-adds of one example, as fvcore counts them.
        before, after: shape of every parameter and buffer.
        depth: containers whose blocks are dropped or cloned.
        attributes: numbers that modules keep about their widths.
        inputs: (shape, dtype) of what the model was run on.
        channels: which channels make up what changes, for weights that are carried over.
        device: "meta", or "cpu" for a model whose forward needs numbers.
    """

    model: str
    rule: str
    gamma: float
    weights: str
    budget: int | None
    budget_of: str | None
    stages: tuple[StagePlan, ...]
    frozen: tuple[Frozen, ...]
    params_before: int
    params: int
    flops_before: int
    flops: int
    before: Mapping[str, Shape]
    after: Mapping[str, Shape]
    depth: tuple[DepthEdit, ...]
    attributes: tuple[AttributeEdit, ...]
    inputs: tuple[tuple[Shape, str], ...]
    channels: Channels
    device: str

    def __str__(self) -> str:
        return plan_table(self)

    def _repr_svg_(self) -> str:
        """The picture that a notebook shows."""
        return plan_svg(self)

    def to_json(self) -> str:
        """The plan as JSON text; ``Plan.from_json`` reads it back to an equal plan."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that ``to_json`` wrote.

        Raises:
            PlanError: where the text is no such plan.
        """
        try:
            data = json.loads(text)
            if data.pop("format") != _FORMAT:
                raise ValueError("of another format")
            return cls(**{name: _read(name, value) for name, value in data.items()})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise PlanError(
                f"this is not a plan written by Plan.to_json(): {error}; make one with reconfig.plan(model, ...)"
            ) from error

    def apply(self, model: nn.Module) -> nn.Module:
        """The -R variant of ``model``: same class, names, device, dtype and modes. ``model`` is not touched.

        Raises:
            PlanError: where ``model`` is not of the architecture that the plan was made for.
            VerifyError: where the result does not run forward and backward.
        """
        self._check_fits(check_model(model))
        bones = skeleton(model, self.device)
        edit_depth(bones, self.depth)
        resize(bones, self.after, self.attributes)
        self._check_trains(bones, model)
        with preserved_rng(), torch.inference_mode(False):  # tensors made in inference mode could not train
            materialise(bones, model, self.depth, WEIGHTS[self.weights](model, self.depth, self.channels))
            if self.weights == "fresh":
                reset_own(bones)
        count = sum(parameter.numel() for parameter in bones.parameters())
        if count != self.params:
            raise VerifyError(f"the rewritten {self.model} has {count:,} parameters and its plan says {self.params:,}")
        return bones

    def _check_fits(self, model: nn.Module) -> None:
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors_of(model)}
        if shapes == dict(self.before):
            return
        for name in sorted({*shapes, *self.before}):
            if shapes.get(name) != self.before.get(name):
                raise PlanError(
                    f"this plan was made for another architecture ({self.model}): {name!r} is "
                    f"{shapes.get(name, 'missing')} in the model and {self.before.get(name, 'missing')} in the plan; "
                    "make a plan for this model with reconfig.plan(model, ...)"
                )

    def _check_trains(self, bones: nn.Module, model: nn.Module) -> None:
        inputs = [torch.zeros(shape, dtype=getattr(torch, dtype), device=self.device) for shape, dtype in self.inputs]
        try:
            trains(skeleton(bones, self.device), inputs)  # a copy: models keep things of the runs they have made
        except VerifyError:
            try:
                trains(skeleton(model, self.device), inputs)
            except VerifyError:
                return  # it does not train on this device as it is either
            raise


def _read(name: str, value: Any) -> Any:
    """A field of a plan from what JSON made of it."""
    if name in ("before", "after"):
        return {key: tuple(shape) for key, shape in value.items()}
    if name == "inputs":
        return tuple((tuple(shape), dtype) for shape, dtype in value)
    if name == "channels":
        return Channels(
            widths={int(width): Resized(**resized) for width, resized in value["widths"].items()},
            dims=read_extents(value["dims"]),
            sizes={int(width): size for width, size in value["sizes"].items()},
            reads=_tuples(value["reads"]),
        )
    kinds: dict[str, Any] = {"stages": StagePlan, "frozen": Frozen, "depth": DepthEdit, "attributes": AttributeEdit}
    if name in kinds:
        return tuple(kinds[name](**{key: _tuples(item) for key, item in entry.items()}) for entry in value)
    return value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


# -- making one --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """A skeleton read in widths and stages."""

    bones: nn.Module
    inputs: tuple[Tensor, ...]
    structure: Structure
    placement: Placement


def read_model(model: nn.Module, example_input: object = None, stages: Mapping[str, int] | None = None) -> _Reading:
    """Capture ``model`` and find its widths and stages."""
    return _read_probe(probe(model, example_input), stages)


def _read_probe(start: Probe, stages: Mapping[str, int] | None) -> _Reading:
    structure = propagate(start.skeleton, start.captures())
    return _Reading(start.skeleton, start.inputs, structure, place_widths(start.skeleton, structure, stages))


def make_plan(
    model: nn.Module,
    rule: str | Rule = "10-10-4",
    *,
    gamma: float = 1.0,
    budget: int | str | None = None,
    example_input: Tensor | tuple[Tensor, ...] | None = None,
    weights: str = "fresh",
    stages: Mapping[str, int] | None = None,
    strict: bool = False,
) -> Plan:
    """What ``rule`` changes in ``model``; see ``reconfig.plan``."""
    check_model(model)
    parsed, gamma = Rule.parse(rule), check_gamma(gamma)
    check_weights(weights)
    if budget is not None and gamma != 1.0:
        raise BudgetError(f"gamma={gamma:g} and budget={budget!r}: a budget solves for gamma, so give one of the two")
    original = read_model(model, example_input, stages)
    before = {name: tuple(tensor.shape) for name, tensor in tensors_of(model)}
    edited, edits, numbers = _with_depth(original, parsed, stages, weights)
    own = _Counts(original)
    counts = _Counts(edited) if edits else own
    target = None
    if budget is not None:
        target = as_number(budget, {"params": lambda: own.params(own.sizes), "flops": lambda: own.flops(own.sizes)})
    result = _agree(edited, parsed, gamma, target, counts)
    plan = Plan(
        model=type(model).__name__,
        rule=str(parsed),
        gamma=result.gamma,
        weights=weights,
        budget=target[0] if target else None,
        budget_of=target[1] if target else None,
        stages=_stage_plans(original, edited, result.sizes),
        frozen=_frozen(edited, parsed, result.gamma),
        params_before=own.params(own.sizes),
        params=counts.params(result.sizes),
        flops_before=own.flops(own.sizes),
        flops=counts.flops(result.sizes),
        before=before,
        after=result.shapes,
        depth=edits,
        attributes=numbers + result.attributes,
        inputs=tuple((tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for tensor in original.inputs),
        channels=_channels(edited.structure, result.sizes),
        device=original.inputs[0].device.type,
    )
    if strict and plan.frozen:
        first = plan.frozen[0]
        raise FrozenError(
            f"{len(plan.frozen)} widths cannot be scaled, the first in stage {first.stage} "
            f"({', '.join(first.layers[:3])}): {first.reason}; "
            "strict=False keeps them as they are"
        )
    return plan


def _with_depth(
    original: _Reading, rule: Rule, stages: Mapping[str, int] | None, weights: str
) -> tuple[_Reading, tuple[DepthEdit, ...], tuple[AttributeEdit, ...]]:
    """The reading after the rule's depth edits, on a skeleton of its own; the same where there are none.

    With it the numbers that modules keep about concats which dense layers joined or left.
    """
    found = original.placement.stages
    depths = rule.depths(len(found))
    edits, dense = depth_edits(original.bones, original.structure.captures[0], found, depths) if depths else ((), ())
    if not edits:
        return original, (), ()
    if dense and weights == "inherit":
        raise DepthError(
            f"rule {rule} changes the number of dense layers, and what reads their concat has no weights to inherit: "
            "give weights='fresh', or a rule of widths alone"
        )
    bones = skeleton(original.bones, original.inputs[0].device.type)
    edit_depth(bones, edits)
    numbers = _regrow(bones, original.structure, edits, dense) if dense else ()
    first = capture(bones, original.inputs)
    if first.error is not None:
        raise VerifyError(f"with the depth of rule {rule} the model does not run: {first.error}") from first.error
    return _read_probe(Probe(bones, original.inputs, first), stages), edits, numbers


def _regrow(
    bones: nn.Module, structure: Structure, edits: Sequence[DepthEdit], dense: Sequence[DenseEdit]
) -> tuple[AttributeEdit, ...]:
    """Give what reads the concats of dense layers its new length, in place; the numbers that modules keep of it."""
    widths = structure.widths
    own = {width: widths.sizes[width] for width in widths.free()}
    changes = [change for edit in dense for change in dense_changes(structure, edit)]

    def sizes(name: str) -> Sizes:
        return own | {width: size for module, new in changes if within(name, module) for width, size in new.items()}

    shapes = {
        name: tuple(widths.size(extent, sizes(name)) for extent in structure.params[origin(name, edits)])
        for name, _ in tensors_of(bones)
        if origin(name, edits) in structure.params
    }
    kept: dict[str, list[Attribute]] = {}
    for attribute in structure.attributes:
        kept.setdefault(attribute.path, []).append(attribute)
    numbers: list[AttributeEdit] = []
    for path, _ in bones.named_modules():
        here = [replace(attribute, path=path) for attribute in kept.get(origin(path, edits), ())]
        numbers += _attribute_edits(bones, here, sizes(path), widths)
    resize(bones, shapes, numbers)
    return tuple(numbers)


class _Counts:
    """Parameters and multiply-adds of a reading as functions of its widths."""

    def __init__(self, reading: _Reading) -> None:
        names = [name for name, _ in tensors_of(reading.bones, "parameters")]
        batch = reading.structure.captures[0].batch
        widths = reading.structure.widths
        self.sizes: Sizes = {width: widths.sizes[width] for width in widths.free()}
        self.params = parameter_polynomial(reading.structure, names)
        flops = flops_polynomial(reading.structure, batch)
        self.flops = lambda sizes: flops(sizes) // batch


@dataclass(frozen=True)
class _Agreed:
    """Sizes that the rewritten skeleton was seen to follow."""

    gamma: float
    sizes: Sizes
    shapes: dict[str, Shape]
    attributes: tuple[AttributeEdit, ...]


def _agree(reading: _Reading, rule: Rule, gamma: float, target: tuple[int, str] | None, counts: _Counts) -> _Agreed:
    """Scale, rewrite the skeleton, capture again and compare, until the network does what the plan says.

    Every round either finds numbers that modules keep and that must follow, or freezes widths; so it ends.
    """
    structure, placement = reading.structure, reading.placement
    changed: dict[tuple[str, str], Any] = {}
    repairs = _Repairs(reading)
    while True:
        scaling = Scaling(structure, placement, rule)
        sizes = scaling(gamma)
        if target is not None:
            budget, what = target
            count = counts.params if what == "params" else counts.flops
            gamma, sizes = meet(count, scaling, budget, what)
        shapes = {
            name: tuple(structure.widths.size(extent, sizes) for extent in dims)
            for name, dims in structure.params.items()
        }
        for (path, name), value in changed.items():
            setattr(reading.bones.get_submodule(path), name, value)
        attributes = _attribute_edits(reading.bones, [*structure.attributes, *repairs.made], sizes, structure.widths)
        changed.update(
            {(edit.path, edit.name): vars(reading.bones.get_submodule(edit.path))[edit.name] for edit in attributes}
        )
        resize(reading.bones, shapes, attributes)
        mismatch = _first_mismatch(reading, sizes)
        if mismatch is None:
            return _Agreed(gamma, sizes, shapes, attributes)
        repairs.answer(*mismatch, sizes)


class _Repairs:
    """What is done about calls that do not follow the plan: a number is corrected, or widths stay as they are."""

    def __init__(self, reading: _Reading) -> None:
        self._reading = reading
        self.made: list[Attribute] = []
        self._wrong: set[Attribute] = set()

    def answer(self, captured: Capture, mismatch: Mismatch, sizes: Sizes) -> None:
        structure = self._reading.structure
        known = {*structure.attributes, *self.made, *self._wrong}
        repaired = repair(self._reading.bones, structure, captured, mismatch, sizes)
        found = [attribute for attribute in repaired if attribute not in known]
        if found:
            self.made.extend(sorted(found, key=lambda attribute: (attribute.path, attribute.name)))
            return
        extents = [extent for _, extent in mismatch.changes]
        if not extents:
            # No width around this call changes, so a number was corrected that has nothing to do with widths.
            wrong = [attribute for attribute in self.made if attribute.path == mismatch.node.meta["path"]]
            self.made = [attribute for attribute in self.made if attribute not in wrong]
            self._wrong.update(wrong)
            extents = [attribute.extent for attribute in wrong] or upstream(structure, captured, mismatch, sizes)
        before = len(structure.widths.frozen)
        for extent in extents:
            structure.widths.freeze(extent, literal_reason(mismatch))
        if len(structure.widths.frozen) == before:
            name = type(self._reading.bones).__name__
            raise VerifyError(f"the rewritten {name} does not run as planned: {mismatch}")


def _first_mismatch(reading: _Reading, sizes: Sizes) -> tuple[Capture, Mismatch] | None:
    for original in reading.structure.captures:
        mismatch = first_mismatch(reading.bones, reading.structure, original, sizes)
        if mismatch is not None:
            return original, mismatch
    return None


def _attribute_edits(
    bones: nn.Module, attributes: Sequence[Attribute], sizes: Sizes, widths: Widths
) -> tuple[AttributeEdit, ...]:
    numbers: dict[tuple[str, str], dict[int, int]] = {}
    for attribute in attributes:
        old, new = widths.size(attribute.extent), widths.size(attribute.extent, sizes)
        numbers.setdefault((attribute.path, attribute.name), {})[old] = new
    edits = []
    modules = modules_of(bones)
    for (path, name), followers in numbers.items():
        value = vars(modules[path]).get(name)
        followed = follow(value, followers)
        if followed != value:
            edits.append(AttributeEdit(path, name, _plain(value), _plain(followed)))
    return tuple(edits)


def _channels(structure: Structure, sizes: Sizes) -> Channels:
    """What ``inherit`` needs to know about the tensors that change."""
    widths = structure.widths
    changed = {
        width: Resized(widths.sizes[width], new, widths.divisors[width])
        for width, new in sizes.items()
        if new != widths.sizes[width]
    }
    resolved = {name: tuple(widths.resolve(extent) for extent in dims) for name, dims in structure.params.items()}
    dims = {name: extents for name, extents in resolved.items() if channels_of(extents) & changed.keys()}
    used = set().union(*(channels_of(extents) for extents in dims.values())) if dims else set()
    return Channels(
        widths=changed,
        dims=dims,
        sizes={width: widths.sizes[width] for width in sorted(used - changed.keys())},
        reads=tuple(read for read in structure.reads if read[0] in dims),
    )


def _plain(value: Any) -> Any:
    """Lists as tuples, so that a plan is the same after JSON."""
    return tuple(value) if isinstance(value, list) else value


# -- reporting one -----------------------------------------------------------------------------------------------------


def _frozen(reading: _Reading, rule: Rule, gamma: float) -> tuple[Frozen, ...]:
    widths, placement = reading.structure.widths, reading.placement
    ratios = rule.ratios(len(placement.stages))
    found: dict[tuple[int, int, str], list[str]] = {}
    for width in widths.free():
        reason = widths.frozen.get(width)
        stage = placement.stage_of.get(width)
        if reason is None or stage is None or reason in _NATURAL:
            continue
        ratio = 1.0 if width in placement.growth and not rule.growth else ratios[stage]
        if ratio * gamma != 1.0:
            found.setdefault((stage, widths.sizes[width], reason), []).extend(_made_by(reading, width))
    for width, later in placement.tied.items():
        own = placement.stage_of[width]
        for stage in sorted(later):
            if ratios[stage] != ratios[own] and width in widths.free():
                reason = f"tied to stage {own + 1}, which has another ratio"
                layers = [path for path in _made_by(reading, width) if path in placement.stages[stage].layers]
                found.setdefault((stage, widths.sizes[width], reason), []).extend(layers)
    return tuple(
        Frozen(stage + 1, tuple(dict.fromkeys(layers)), size, reason) for (stage, size, reason), layers in found.items()
    )


def _made_by(reading: _Reading, width: int) -> list[str]:
    """Module names of the layers whose output has this width in it."""
    structure = reading.structure
    return [layer.path for layer in structure.layers if width in channels_of([structure.widths.resolve(layer.out)])]


def _stage_plans(original: _Reading, edited: _Reading, sizes: Sizes) -> tuple[StagePlan, ...]:
    members = _stage_members(original)
    before = _stage_params(original, members, None)
    after = _stage_params(edited, members if edited is original else _stage_members(edited), sizes)
    widths = edited.structure.widths
    return tuple(
        StagePlan(
            index=old.index,
            reduction=old.reduction,
            resolution=old.resolution,
            blocks=(len(old.blocks), len(new.blocks)),
            width=(old.width, widths.size(edited.placement.outputs[new.index - 1], sizes)),
            params=(before[old.index], after[new.index]),
            dense=old.dense,
        )
        for old, new in zip(original.placement.stages, edited.placement.stages, strict=True)
    )


def _stage_members(reading: _Reading) -> dict[str, int]:
    """The stage of each parameter: of its layer, or of the width that it belongs to (norms, scales)."""
    structure, placement = reading.structure, reading.placement
    by_layer = {path: stage.index for stage in placement.stages for path in stage.layers}
    outside = {*placement.stages.stem, *placement.stages.head}
    members: dict[str, int] = {}
    for name, _ in tensors_of(reading.bones, "parameters"):
        module = name.rpartition(".")[0]
        index = by_layer.get(module) or _stage_of_dims(structure, placement, structure.params[name])
        if index is not None and module not in outside:
            members[name] = index
    return members


def _stage_params(reading: _Reading, members: Mapping[str, int], sizes: Sizes | None) -> dict[int, int]:
    """Parameters by stage."""
    totals = {stage.index: 0 for stage in reading.placement.stages}
    for name, index in members.items():
        totals[index] += math.prod(
            reading.structure.widths.size(extent, sizes) for extent in reading.structure.params[name]
        )
    return totals


def _stage_of_dims(structure: Structure, placement: Placement, dims: Sequence[Any]) -> int | None:
    for extent in dims:
        for term in structure.widths.resolve(extent):
            for part in term:
                if not isinstance(part, int) and part.width in placement.stage_of:
                    return placement.stage_of[part.width] + 1
    return None
