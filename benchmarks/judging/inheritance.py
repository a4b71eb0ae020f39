"""Inherited weights on one model: whether growing keeps its logits, and whether shrinking masks its channels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import reconfig
from benchmarks.judging.cuts import cuts, joins, masked, ranking
from benchmarks.judging.models import Entry, build
from reconfig.trace.leaves import leaves

GROWN_TOLERANCE = 1e-4  # of the largest logit, float32
MASKED_TOLERANCE = 1e-8  # of the largest logit, float64
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class Row:
    """One check of one model; one line of the CSV."""

    name: str
    source: str
    family: str
    check: str
    """"grow" or "shrink"."""
    gamma: float
    held: bool = False
    difference: float = math.nan
    """Largest difference of a logit, over the largest logit."""
    frozen: int = 0
    """Widths that the rule asks to change and that stay."""
    changed: int = 0
    """Parameters and buffers whose shape changed."""
    ranked: int = 0
    """Groups of tensors cut alike whose ranking was computed."""
    problem: str = ""


def shake(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """``model`` in eval mode and this dtype, with random norms; no value occurs twice in any of its tensors.

    Scales of layers that begin at one small value (LayerScale) become random too: they would hide what they scale.
    """
    torch.manual_seed(1)
    model.to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1 and parameter.flatten()[0] != 0 and (parameter == parameter.flatten()[0]).all():
                parameter.uniform_(0.5, 1.5)
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor), alpha=1e-4)
        for norm in model.modules():
            if isinstance(norm, _NORMS):
                _randomise(norm)
    return model


def _randomise(norm: nn.Module) -> None:
    """Statistics and affine parameters as after training: scales around 1, shifts around 0."""
    for name, tensor in (*norm.named_parameters(recurse=False), *norm.named_buffers(recurse=False)):
        if name in ("weight", "running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            tensor.normal_(0.0, 0.1)


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """All that the model returns, in one row."""
    with torch.no_grad():
        return torch.cat([output.flatten() for output in leaves(model(images), Tensor)])


def planned(
    model: nn.Module, entry: Entry, largest: int, batch: int, rule: str, gamma: float = 1.0
) -> tuple[reconfig.Plan, Tensor]:
    """The plan that inherits, and random images: of the list's size, or smaller ones where the model takes them."""
    torch.manual_seed(2)
    dtype = next(model.parameters()).dtype
    images = torch.randn(batch, 3, entry.input_size, entry.input_size, dtype=dtype)
    small = images[..., :largest, :largest]
    try:
        return reconfig.plan(model, rule, gamma=gamma, weights="inherit", example_input=small), small
    except reconfig.InputError:
        return reconfig.plan(model, rule, gamma=gamma, weights="inherit", example_input=images), images


def grow(entry: Entry, gamma: float, largest: int) -> Row:
    """Whether the logits stay the same when every stage grows."""
    model = shake(build(entry), torch.float32)
    plan, images = planned(model, entry, largest, 2, "10-10-10", gamma)
    difference = distance(logits(plan.apply(model), images), logits(model, images))
    row = Row(entry.name, entry.source, entry.family, "grow", gamma, difference=difference, frozen=len(plan.frozen))
    changed = sum(plan.before[name] != plan.after[name] for name in plan.before)
    problem = "" if difference < GROWN_TOLERANCE else f"the logits differ by {difference:.1e}"
    if plan.params < 1.2 * plan.params_before:
        problem = f"it only grew from {plan.params_before:,} to {plan.params:,} parameters"
    return replace(row, held=not problem, changed=changed, problem=problem)


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, over the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def ungrouped(model: nn.Module) -> bool:
    """Whether the model has batch norm and no grouped convolution."""
    kinds = list(model.modules())
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in kinds) and not any(
        isinstance(module, nn.modules.conv._ConvNd) and module.groups > 1 for module in kinds
    )


def shrink(entry: Entry, largest: int) -> Row | None:
    """Whether the shrunk network is the original with channels masked; None where the check does not apply."""
    model = build(entry)
    if not ungrouped(model):
        return None
    shake(model, torch.float64)
    plan, images = planned(model, entry, largest, 1, "10-10-4")
    result = plan.apply(model)
    row = Row(entry.name, entry.source, entry.family, "shrink", 1.0, frozen=len(plan.frozen))
    kept_at = cuts(model, result)
    with masked(model, kept_at):
        difference = distance(logits(result, images), logits(model, images))
    problems = [] if difference < MASKED_TOLERANCE else [f"the logits differ from the masked ones by {difference:.1e}"]
    if problems and any(isinstance(module, nn.Conv1d) for module in model.modules()):
        problems.append("a convolution runs along channels (ECA), so a channel's neighbours change")
    ranked = 0
    if not joins(model, images):
        ranked, wrong = ranking(dict(model.named_parameters()), kept_at)
        problems += wrong
    return replace(
        row, held=not problems, difference=difference, changed=len(kept_at), ranked=ranked, problem="; ".join(problems)
    )
