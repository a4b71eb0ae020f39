"""Inherited weights on networks that other people wrote: what they keep where widths grow, and where one shrinks.

grow: "10-10-10" at each gamma, on one model of each CNN family of zoo.json, with weights="inherit" and random norm
statistics. Held where the logits stay the same (float32).

shrink: "10-10-4" on every CNN of zoo.json with batch norm and no grouped (or depthwise) convolution, in float64. Held
where the result is the original with channels masked: every tensor is cut out of the original's, and the original
gives the result's logits once forward hooks zero the dropped channels of every convolution, linear map and norm. Which
channels were dropped is read off the tensors, in which no value occurs twice, and not off the plan. In networks that
never join or split channels, tensors that were cut alike are also ranked: those kept have the largest L2 norms.

Writes results/inherit.csv, one row a check, and a summary beside it.

    python benchmarks/inherit.py --jobs 2
    python benchmarks/inherit.py --only resnet50 --source timm
"""

from __future__ import annotations

import csv
import gc
import math
import multiprocessing
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import reconfig
from benchmarks.judging.models import Entry, build, entries
from benchmarks.judging.row import describe
from benchmarks.judging.sight import tensors_in

GAMMAS = (1.5, 2.0)
GROWN_TOLERANCE = 1e-4  # of the largest logit, float32
MASKED_TOLERANCE = 1e-8  # of the largest logit, float64
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
_MAKERS = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._BatchNorm)
_JOINS = {torch.cat, torch.concat, torch.stack, torch.split, torch.chunk, Tensor.split, Tensor.chunk}


@dataclass(frozen=True)
class Options:
    """Which models."""

    only: tuple[str, ...] = ()
    """Names of models; all of the list where left out."""
    source: Literal["torchvision", "timm", "all"] = "all"
    """Where the models come from."""
    size: int = 128
    """Largest image side, except for models that need more."""
    jobs: int = 1
    """Processes, each with one thread."""
    out: Path = Path(__file__).resolve().parent / "results"
    """Folder for the tables."""


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


# -- models with something to see --------------------------------------------------------------------------------------


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
        return torch.cat([output.flatten() for output in tensors_in(model(images))])


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


# -- growing -----------------------------------------------------------------------------------------------------------


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


# -- shrinking ---------------------------------------------------------------------------------------------------------


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
    places = cuts(model, result)
    with masked(model, places):
        difference = distance(logits(result, images), logits(model, images))
    problems = [] if difference < MASKED_TOLERANCE else [f"the logits differ from the masked ones by {difference:.1e}"]
    if problems and any(isinstance(module, nn.Conv1d) for module in model.modules()):
        problems.append("a convolution runs along channels (ECA), so a channel's neighbours change")
    ranked = 0
    if not joins(model, images):
        ranked, wrong = ranking(dict(model.named_parameters()), places)
        problems += wrong
    return replace(
        row, held=not problems, difference=difference, changed=len(places), ranked=ranked, problem="; ".join(problems)
    )


def cuts(model: nn.Module, result: nn.Module) -> dict[str, tuple[Tensor, ...]]:
    """For each tensor that changed shape, the positions along each axis at which it was cut out of the original's.

    Raises:
        ValueError: where a tensor was not cut out of the original's.
    """
    new = result.state_dict()
    found = {}
    for name, old in model.state_dict().items():
        places = cut(old, new[name])
        if places is None:
            raise ValueError(f"{name} was not cut out of the original's")
        if old.shape != new[name].shape:
            found[name] = places
    return found


def cut(old: Tensor, new: Tensor) -> tuple[Tensor, ...] | None:
    """Positions along each axis such that ``old`` at them is ``new``; None where there are none.

    No value occurs twice in ``old``, so the first line along each axis tells.
    """
    if torch.equal(old, new):
        return tuple(torch.arange(size) for size in old.shape)
    if old.dim() != new.dim() or new.numel() == 0:
        return None
    values, order = old.flatten().sort()
    places = []
    for axis in range(old.dim()):
        line = new.movedim(axis, -1).reshape(-1, new.shape[axis])[0].contiguous()
        at = order[torch.searchsorted(values, line).clamp(max=len(values) - 1)]
        places.append(torch.unravel_index(at, old.shape)[axis])
    picked = old
    for axis, index in enumerate(places):
        picked = picked.index_select(axis, index)
    return tuple(places) if torch.equal(picked, new) else None


@contextmanager
def masked(model: nn.Module, places: Mapping[str, tuple[Tensor, ...]]) -> Iterator[None]:
    """In this block, convolutions, linear maps and norms of ``model`` return zero in the channels that were dropped."""

    def zeroing(keep: Tensor, axis: int) -> Callable[..., Tensor]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            return output * keep.view(-1, *[1] * (output.dim() - 1 - axis % output.dim()))

        return hook

    handles = []
    for path, module in model.named_modules():
        name = f"{path}.weight" if not isinstance(module, nn.modules.batchnorm._BatchNorm) else f"{path}.running_mean"
        if isinstance(module, _MAKERS) and name in places:
            old = model.state_dict()[name]
            axis = 1 if isinstance(module, nn.modules.conv._ConvTransposeNd) else 0
            keep = torch.zeros(old.shape[axis], dtype=old.dtype).index_fill(0, places[name][axis], 1.0)
            handles.append(module.register_forward_hook(zeroing(keep, -1 if isinstance(module, nn.Linear) else 1)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Watch(TorchFunctionMode):
    """Notes whether channels are joined or split."""

    seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen = self.seen or func in _JOINS
        return func(*args, **(kwargs or {}))


def joins(model: nn.Module, images: Tensor) -> bool:
    """Whether the model concatenates or splits tensors."""
    with torch.no_grad(), _Watch() as watch:
        model(images)
    return watch.seen


def ranking(parameters: Mapping[str, Tensor], places: Mapping[str, tuple[Tensor, ...]]) -> tuple[int, list[str]]:
    """How many groups of axes were cut alike, and which of them did not keep the channels of the largest L2 norm.

    Axes that were cut at the same positions are one group: a choice out of many channels is not made twice by chance.
    """
    energies: dict[tuple[int, tuple[int, ...]], Tensor] = {}
    names: dict[tuple[int, tuple[int, ...]], str] = {}
    axes = [
        (name, axis, kept.tolist())
        for name, cut_at in places.items()
        if name in parameters
        for axis, kept in enumerate(cut_at)
        if len(kept) < parameters[name].shape[axis]
    ]
    for name, axis, kept in sorted(axes, key=lambda item: parameters[item[0]].shape[item[1]]):
        tensor = parameters[name].detach().double()
        energy = tensor.square().movedim(axis, 0).flatten(1).sum(1) if tensor.dim() > 1 else tensor.square()
        group = (len(energy), tuple(kept))
        for channels, own in energies:
            span = len(energy) // channels  # a flattened map repeats each channel at every position
            if span > 1 and [c * span + i for c in own for i in range(span)] == kept:
                group, energy = (channels, own), energy.view(channels, span).sum(1)
                break
        energies[group] = energies.get(group, 0) + energy
        names.setdefault(group, name)
    wrong = [
        f"{names[channels, kept]} does not keep the largest channels"
        for (channels, kept), energy in energies.items()
        if energy.topk(len(kept)).indices.sort().values.tolist() != list(kept)
    ]
    return len(energies), wrong


# -- all of them -------------------------------------------------------------------------------------------------------


def check(task: tuple[Entry, str, float, int]) -> Row | None:
    """One row, whatever happens."""
    entry, kind, gamma, largest = task
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        return grow(entry, gamma, largest) if kind == "grow" else shrink(entry, largest)
    except Exception as error:
        return Row(entry.name, entry.source, entry.family, kind, gamma, problem=describe(error))
    finally:
        gc.collect()


def tasks(chosen: Sequence[Entry], largest: int) -> list[tuple[Entry, str, float, int]]:
    """The checks of these models."""
    networks = [entry for entry in chosen if entry.kind == "cnn"]
    first = {entry.family: entry for entry in reversed(networks)}
    grown = [entry for entry in networks if first[entry.family] is entry]
    return [
        *((entry, "grow", gamma, largest) for entry in grown for gamma in GAMMAS),
        *((entry, "shrink", 1.0, largest) for entry in networks),
    ]


def summary(rows: Sequence[Row]) -> str:
    """The tables as markdown."""
    lines = ['# `weights="inherit"` on the models of zoo.json', ""]
    lines += [
        "| check | models | held | with frozen widths | median difference | worst that held |",
        "|" + " --- |" * 6,
    ]
    kinds = [("grow", gamma) for gamma in GAMMAS] + [("shrink", 1.0)]
    for kind, gamma in kinds:
        part = [row for row in rows if (row.check, row.gamma) == (kind, gamma)]
        if not part:
            continue
        held = sorted(row.difference for row in part if row.held)
        label = f"grow, γ={gamma:g}" if kind == "grow" else "shrink, 10-10-4"
        figures = [f"{held[len(held) // 2]:.1e}", f"{held[-1]:.1e}"] if held else ["", ""]
        frozen = sum(row.frozen > 0 for row in part)
        lines.append("| " + " | ".join([label, str(len(part)), str(len(held)), str(frozen), *figures]) + " |")
    ranked = [row for row in rows if row.ranked]
    lines += [
        "",
        f"Grown: held where logits differ by less than {GROWN_TOLERANCE:g} of the largest (float32, one model a "
        f"family). Shrunk: held where they differ from the masked original's by less than {MASKED_TOLERANCE:g} "
        "(float64, every CNN with batch norm and no grouped convolution), and where the kept channels are those of "
        f"the largest L2 norm: {sum(row.ranked for row in ranked)} groups in the {len(ranked)} networks that neither "
        "join nor split channels.",
        "",
    ]
    missed = [row for row in rows if not row.held]
    if missed:
        lines += ["| not held | check | why |", "| --- | --- | --- |"]
        lines += [f"| {row.source} {row.name} | {row.check} {row.gamma:g} | {row.problem} |" for row in missed]
        lines.append("")
    return "\n".join(lines)


def main(options: Options) -> int:
    """Run, write the tables, and return 1 where a check did not hold."""
    console = Console()
    chosen = tasks(entries(options.only, options.source), options.size)
    rows: list[Row] = []
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "inherit.csv"
    context = multiprocessing.get_context("spawn")
    with path.open("w", newline="") as file, ProcessPoolExecutor(options.jobs, context) as pool:
        writer = csv.DictWriter(file, [item.name for item in fields(Row)])
        writer.writeheader()
        for row in track(pool.map(check, chosen), total=len(chosen), console=console):
            if row is None:
                continue
            rows.append(row)
            writer.writerow(asdict(row) | {"difference": f"{row.difference:.2e}"})
            file.flush()
            if not row.held:
                console.print(f"[bold]{row.name}[/] {row.check} {row.gamma:g}: {row.problem}", highlight=False)
    path.with_suffix(".md").write_text(summary(rows))
    console.print(f"{sum(row.held for row in rows)} of {len(rows)} held; see {path.with_suffix('.md')}")
    return 0 if all(row.held for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
