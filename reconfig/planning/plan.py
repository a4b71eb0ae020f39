"""A plan: everything that changes between a model and its -R variant, as data.

Decide first, act later: a plan is made on skeletons alone, without a weight; ``Plan.apply`` does what it says to a copy
of a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from reconfig.draw import change, listed, resolution, table
from reconfig.errors import PlanError, VerifyError
from reconfig.picture.chart import Cell, Chart, Row, brief
from reconfig.picture.html import html
from reconfig.picture.layers import layer_rows
from reconfig.picture.svg import svg
from reconfig.planning.measured import count_flops, count_params
from reconfig.planning.records import RECORDS, UNREADABLE
from reconfig.rewrite.depth import DepthEdit, edit_depth
from reconfig.rewrite.fresh import reset_own
from reconfig.rewrite.inherit import Channels
from reconfig.rewrite.surgery import AttributeEdit, kept_at, materialise, resize
from reconfig.rewrite.verify import check_trains
from reconfig.rewrite.weights import filling
from reconfig.rule import Rule, widening
from reconfig.trace.example import check_model
from reconfig.trace.record import Shape
from reconfig.trace.skeleton import make_skeleton, tensors_of
from reconfig.trace.traces import kept, unchanged
from reconfig.trace.watch import preserved_rng
from reconfig.widths.grouping import Grouping
from reconfig.widths.reasons import FrozenKind

_LAYERS = "of each layer: channels in → out, kernel, g and the number of groups"
_FORMAT = 4  # of the JSON; 3 did not say what grouped convolutions keep


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
        kept: channels at its output that keep their number though the rule asks for another.
    """

    index: int
    reduction: float
    resolution: tuple[int, ...]
    blocks: tuple[int, int]
    width: tuple[int, int]
    params: tuple[int, int]
    dense: bool
    kept: int


def _row(stage: StagePlan) -> Row:
    dense = ("dense",) if stage.dense else ()
    cells = []
    for blocks, width, params in zip(stage.blocks, stage.width, stage.params, strict=True):
        counted = () if not blocks else (f"{blocks} block" + "s" * (blocks != 1),)
        words = (f"{width:,} channels", *dense, *counted, f"{brief(params)} parameters")
        cells.append(Cell(width, words, f"{params:,} parameters"))
    return Row(f"stage {stage.index}", resolution(stage.resolution), tuple(cells))


@dataclass(frozen=True)
class Frozen:
    """A width that the rule asks to scale and that keeps its size.

    Attributes:
        stage: the stage it belongs to, 1 for the first.
        layers: module names of the layers that make it.
        width: its channel count.
        kind: why it cannot be scaled soundly, for programs.
        reason: the same for people, with the line of code.
        remedy: what a user can do so that it scales, as an order ("write ..."); "" where nothing is known.
    """

    stage: int
    layers: tuple[str, ...]
    width: int
    kind: FrozenKind
    reason: str
    remedy: str

    def __str__(self) -> str:
        why = f"{self.reason}; {self.remedy}" if self.remedy else self.reason
        return f"frozen at {self.width} in stage {self.stage} ({listed(self.layers)}): {why}"


@dataclass(frozen=True)
class Plan:
    """What ``apply`` does to a model; printing it shows a table.

    Attributes:
        model: class name of the model that it was made for.
        rule: the rule, as text.
        gamma: the factor on the width of every stage, given or solved; on the terms of a ratio of widths.
        weights: how the result is filled.
        budget: the count that gamma, or the depths, were solved for, or None.
        budget_of: what the budget counts, "params" or "flops".
        grouping: what grouped convolutions keep: the number of groups, or the width of each; None where none are.
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
    grouping: Grouping | None
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
        rows = [
            (
                stage.index,
                resolution(stage.resolution),
                change(*stage.blocks) if stage.blocks[0] else "plain",
                change(*stage.width) + (" dense" if stage.dense else ""),
                change(*stage.params),
            )
            for stage in self.stages
        ]
        params, flops = change(self.params_before, self.params), change(self.flops_before, self.flops)
        lines = [
            *self.unscaled(),
            f"{self.model}, rule {self.rule}, gamma {self.gamma:.4g}",
            table(("stage", "resolution", "blocks", "width", "parameters"), rows),
            f"parameters {params}, multiply-adds {flops}",
        ]
        lines += [] if self.grouping is None else [str(self.grouping)]
        lines += self._met()
        lines += map(str, self.frozen)
        return "\n".join(lines)

    def _met(self) -> Iterator[str]:
        """How near whole blocks and channels came to what was asked for."""
        rule, widths = Rule.parse(self.rule), [stage.width[1] for stage in self.stages]
        if self.budget is not None:
            reached = self.params if self.budget_of == "params" else self.flops
            yield f"budget {self.budget:,} {self.budget_of}: met to {(reached / self.budget - 1):+.3%}"
        if rule.balance is not None:
            depths, (deep, wide) = sum(stage.blocks[1] for stage in self.stages), rule.balance
            met = depths / widening(widths) / (deep / wide) - 1
            sums = f"{depths}:{widening(widths):.4g}"
            yield f"depths to widening factors {sums}, asked for {deep:g}:{wide:g}: met to {met:+.1%}"
        if rule.channels is not None and self.budget is None:
            for stage, width, channels in zip(self.stages, widths, rule.channels, strict=True):
                if abs(width - channels * self.gamma) > 0.5:
                    yield f"stage {stage.index} has {width:,} channels, asked for {channels * self.gamma:,.6g}"

    def unscaled(self) -> list[str]:
        """A sentence for each stage that keeps more than half of its width though the rule asks for another."""
        sentences = []
        for stage in self.stages:
            if 2 * stage.kept > stage.width[0]:
                reasons = dict.fromkeys(frozen.reason for frozen in self.frozen if frozen.stage == stage.index)
                sentences.append(
                    f"stage {stage.index} keeps {stage.kept:,} of its {stage.width[0]:,} channels, which the rule asks "
                    f"to change: {'; '.join(reasons) or 'no layer of its own makes them'}"
                )
        return sentences

    def chart(self, model: nn.Module | None = None) -> Chart:
        """What pictures of the plan show: before beside after, stage by stage, or layer by layer with the ``model``.

        Args:
            model: the network that the plan was made for; it is not touched.

        Raises:
            PlanError: where ``model`` is not of the architecture that the plan was made for.
        """
        if model is not None:
            self.check_fits(model)
        flops = change(self.flops_before, self.flops)
        return Chart(
            title=f"{self.model}, rule {self.rule}, γ = {self.gamma:.4g}",
            words=f"{change(self.params_before, self.params)} parameters, {flops} multiply-adds".replace("->", "→"),
            columns=("before", "after"),
            rows=tuple(map(_row, self.stages)) if model is None else layer_rows(model, self._rewritten(model)),
            notes=(*(() if model is None else (_LAYERS,)), *self.unscaled(), *map(str, self.frozen)),
            dense=model is not None,
        )

    def svg(self, model: nn.Module | None = None) -> str:
        """The plan as a picture, as ``chart`` says; what changes is blue, bars are as long as there are channels."""
        return svg(self.chart(model))

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_html_(self) -> str:
        """What a notebook shows: the picture, and the table to unfold."""
        return html(self.chart(), str(self))

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
            return RECORDS.structure(data, cls)
        except UNREADABLE as error:
            raise PlanError(
                f"this is not a plan written by Plan.to_json(): {error}; make one with reconfig.plan(model, ...)"
            ) from error

    def apply(self, model: nn.Module) -> nn.Module:
        """The -R variant of ``model``: same class, names, device, dtype and modes. ``model`` is not touched.

        Raises:
            PlanError: where ``model`` is not of the architecture that the plan was made for.
            VerifyError: where the result does not run forward and backward, or fvcore counts other parameters.
        """
        self.check_fits(model)
        result = self._rewritten(model)
        before = kept(result)
        self._check_trains(result, model)
        if not unchanged(before, result):  # it kept something of the run, as of a batch
            result = self._rewritten(model)
        with preserved_rng(), torch.inference_mode(False):  # tensors made in inference mode could not train
            materialise(result, model, self.depth, filling(self.weights, model, self.depth, self.channels))
            if self.weights == "fresh":
                reset_own(result)
        self._check_params(result)
        return result

    def check_fits(self, model: nn.Module) -> None:
        """See that ``model`` is of the architecture that the plan was made for.

        Raises:
            PlanError: where it is not; the message names the first tensor that differs.
            ModelError: where it is no network that can be worked with.
        """
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors_of(check_model(model))}
        if shapes == dict(self.before):
            return
        for name in sorted({*shapes, *self.before}):
            if shapes.get(name) != self.before.get(name):
                raise PlanError(
                    f"this plan was made for another architecture ({self.model}): {name!r} is "
                    f"{shapes.get(name, 'missing')} in the model and {self.before.get(name, 'missing')} in the plan; "
                    "make a plan for this model with reconfig.plan(model, ...)"
                )

    def verify(self, model: nn.Module) -> None:
        """See that ``model`` counts what this plan says, by fvcore: parameters, and multiply-adds of one example.

        Args:
            model: what ``apply`` returned, trained or not.

        Raises:
            VerifyError: where it does not, or fvcore cannot trace it; the message has both figures.
        """
        self._check_params(check_model(model))
        inputs = [torch.empty((1, *shape[1:]), dtype=getattr(torch, dtype)) for shape, dtype in self.inputs]
        counted = count_flops(model, inputs)
        if counted.total != self.flops:
            skipped = ", ".join(f"{name} ({times} times)" for name, times in counted.skipped.items())
            raise VerifyError(
                f"fvcore counts {counted.total:,} multiply-adds in this {type(model).__name__} and its plan says "
                f"{self.flops:,}" + (f"; fvcore knows nothing of {skipped}" if skipped else "")
            )

    def _check_params(self, model: nn.Module) -> None:
        count = count_params(model)
        if count != self.params:
            raise VerifyError(f"the rewritten {self.model} has {count:,} parameters and its plan says {self.params:,}")

    def _rewritten(self, model: nn.Module) -> nn.Module:
        result = make_skeleton(model, self.device)
        edit_depth(result, self.depth)
        self._check_keeps(result)
        resize(result, self.after, self.attributes)
        return result

    def _check_keeps(self, result: nn.Module) -> None:
        for edit in self.attributes:
            try:
                kept_at(result.get_submodule(edit.path), edit.name)
            except (LookupError, AttributeError, ValueError) as error:
                raise PlanError(
                    f"this plan was made for another class of the name {self.model}: it changes {edit.name!r} of "
                    f"{edit.path or 'the model itself'}, which this one does not keep; "
                    "make a plan for this model with reconfig.plan(model, ...)"
                ) from error

    def _check_trains(self, result: nn.Module, model: nn.Module) -> None:
        inputs = self._example()
        try:
            check_trains(result, inputs)
        except VerifyError:
            try:
                check_trains(make_skeleton(model, self.device), inputs)
            except VerifyError:
                return  # it does not train on this device as it is either
            raise

    def _example(self) -> Sequence[Tensor]:
        return [torch.zeros(shape, dtype=getattr(torch, dtype), device=self.device) for shape, dtype in self.inputs]
