"""Rewrite many networks that other people wrote, and judge each result from outside.

Runs "10-10-4" over the torchvision and timm models of zoo.json. Every model gets a time limit in a process of its own
that a crash or a time-out loses and replaces. What is judged is seen by forward hooks on convolutions and by real runs,
not by what the plan says: which convolutions changed, by what ratio, whether the result runs and trains, whether the
caller's model is as it was. Writes results/zoo.csv, one row a model, and a summary beside it.

    python benchmarks/zoo.py
    python benchmarks/zoo.py --gamma 1.5
    python benchmarks/zoo.py --peer --jobs 2
    python benchmarks/zoo.py --only resnet50 regnet_y_16gf --source torchvision
"""

from __future__ import annotations

import csv
import gc
import hashlib
import json
import math
import multiprocessing
import random
import re
import statistics
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import torch
import tyro
from fvcore.nn import FlopCountAnalysis, parameter_count
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT.parent))  # neither the benchmarks nor, in a checkout, the package need be installed

import reconfig  # noqa: E402
from reconfig.ops import channels_of  # noqa: E402
from reconfig.plan import read_model  # noqa: E402

RULE = "10-10-4"
LAST = 0.4  # the ratio of the rule's last term
CENSUS_GAMMA = 1.5  # asks every stage to change, so that every frozen width shows
AGREES, GOES_ON = "agrees", "goes on: "
_TOLERANCE = 0.02  # of a width, for divisors and for widths that are sums of rounded pieces
_HALF_CHANGED = 0.5
_LARGER_SIZE = 299


@dataclass(frozen=True)
class Entry:
    """One model of the list."""

    name: str
    source: str
    family: str
    kind: str
    input_size: int


@dataclass(frozen=True)
class Options:
    """Which models, and how."""

    gamma: float = 1.0
    """Factor on every width, beside the rule."""
    peer: bool = False
    """Run torch-pruning on the same models too, halving every layer."""
    only: tuple[str, ...] = ()
    """Names of models; all of the list where left out."""
    source: Literal["torchvision", "timm", "all"] = "all"
    """Where the models come from."""
    jobs: int = 1
    """Models at a time."""
    limit: float = 300.0
    """Seconds a model may take, building it and judging the result included."""
    peer_limit: float = 120.0
    """Seconds that torch-pruning may take, likewise."""
    resume: bool = False
    """Go on with the table that an interrupted run left."""
    out: Path = ROOT / "results"
    """Folder for the tables."""


@dataclass
class Row:
    """What was seen of one model; one line of the CSV."""

    name: str
    source: str
    family: str
    kind: str
    gamma: float = 1.0
    right: bool = False
    problems: str = ""
    oracle: str = ""
    """"agrees", "" where there is none, or how stages and feature_info differ."""
    stages: str = ""
    """reduction:width of each stage."""
    params_before: int = 0
    params: int = 0
    flops: int = 0
    fvcore_flops: str = ""
    """"equal", or fvcore's count, or its error."""
    changed: float = 0.0
    """Share of the last stage's convolution weights whose shape changed."""
    deviation: float = 0.0
    """Largest distance of a last-stage convolution from its ratio, as a share of its width; divisors make it."""
    params_miss: float = 0.0
    """With budget="params", how far the result is from the original's parameters, as a share of them."""
    flops_miss: float = 0.0
    """With budget="flops", how far fvcore's count of the result is from its count of the original."""
    groups: int = 0
    """Width groups in stages."""
    frozen: int = 0
    """Those among them that keep their width though the rule asks."""
    reasons: str = ""
    """The reasons, as JSON: reason -> width groups."""
    plan_seconds: float = 0.0
    apply_seconds: float = 0.0
    """CPU seconds, one thread, of reconfig.apply as a whole: plan, rewrite, new weights."""
    peer_right: str = ""
    """"yes", "no", or "" where the peer was not run."""
    peer_problem: str = ""
    peer_seconds: float = 0.0
    problem_list: list[str] = field(default_factory=list, repr=False)

    def blame(self, *problems: str) -> None:
        """Note what is wrong."""
        self.problem_list.extend(problems)


# -- what hooks see ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convolution:
    """A convolution module as a forward hook saw it; ``out`` are the channels that it returned."""

    weight: tuple[int, ...]
    groups: int
    out: int
    positions: tuple[int, ...]

    @property
    def depthwise(self) -> bool:
        """Whether its channels are its input's own, one by one."""
        return self.groups > 1 and self.groups == self.out


@dataclass(frozen=True)
class Sight:
    """One forward pass, seen from outside.

    ``order`` has every module path in the order in which the calls returned, ``shapes`` what each returned last.
    ``divisors`` are what widths may have to be multiples of: groups, heads, halves and quarters.
    """

    outputs: tuple[tuple[int, ...], ...]
    divisors: frozenset[int]
    convolutions: Mapping[str, Convolution]
    shapes: Mapping[str, tuple[int, ...]]
    order: Sequence[str]
    finite: bool


def tensors_in(item: Any) -> Iterator[Tensor]:
    """All tensors in what a model returned."""
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, Mapping):
        for part in item.values():
            yield from tensors_in(part)
    elif isinstance(item, tuple | list):
        for part in item:
            yield from tensors_in(part)


def look(model: nn.Module, images: Tensor) -> Sight:
    """Run ``model`` in eval mode under hooks; its own modes are put back."""
    convolutions: dict[str, Convolution] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    order: list[str] = []

    def watch(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            order.append(path)
            if isinstance(output, Tensor):
                shapes[path] = tuple(output.shape)
                if isinstance(module, nn.modules.conv._ConvNd):
                    positions = tuple(output.shape[output.dim() - len(module.kernel_size) :])
                    channels = output.shape[-len(positions) - 1]
                    convolutions[path] = Convolution(tuple(module.weight.shape), module.groups, channels, positions)

        return hook

    modes = {module: module.training for module in model.modules()}
    handles = [module.register_forward_hook(watch(path)) for path, module in model.named_modules()]
    try:
        with torch.no_grad():
            outputs = list(tensors_in(model.eval()(images)))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    finite = all(bool(output.isfinite().all()) for output in outputs)
    return Sight(
        tuple(tuple(output.shape) for output in outputs), divisors_of(model), convolutions, shapes, order, finite
    )


def divisors_of(model: nn.Module) -> frozenset[int]:
    """Numbers of groups and heads in ``model``, with 2 and 4 for halves and quarters."""
    names = ("groups", "num_groups", "num_heads", "heads")
    kept = {getattr(module, name, 1) for module in model.modules() for name in names}
    return frozenset({2, 4} | {number for number in kept if isinstance(number, int) and number > 1})


def fingerprint(model: nn.Module) -> tuple[Any, ...]:
    """What a caller could notice of a change: tensors bitwise, modes, gradients, hooks, attributes, random states."""
    digest = hashlib.blake2b()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(memoryview(tensor.detach().contiguous().flatten().view(torch.uint8).numpy()))
    states = [
        (module.training, len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()
    ]
    gradients = [(parameter.requires_grad, parameter.grad is None) for parameter in model.parameters()]
    randomness = (torch.get_rng_state().numpy().tobytes(), random.getstate(), str(np.random.get_state()))
    return digest.hexdigest(), states, gradients, repr(model), randomness


def train(model: nn.Module, entry: Entry, classes: int) -> list[str]:
    """``train_once`` at the entry's size, or, where not even the original trains at it, at a larger one."""
    try:
        return train_once(model, torch.rand(2, 3, entry.input_size, entry.input_size), classes)
    except Exception:
        try:
            train_once(build(entry), torch.rand(2, 3, entry.input_size, entry.input_size), classes)
        except Exception:
            return train_once(model, torch.rand(2, 3, _LARGER_SIZE, _LARGER_SIZE), classes)
        raise


def train_once(model: nn.Module, images: Tensor, classes: int) -> list[str]:
    """A forward and backward pass in training mode; what is wrong with it.

    A gradient is dropped as soon as it was looked at, so that large models fit.
    """
    problems: list[str] = []

    def seen(parameter: Tensor) -> None:
        if parameter.grad is not None and parameter.grad.shape != parameter.shape:
            problems.append("a gradient has not its parameter's shape")
        parameter.grad = None
        reached.append(parameter.numel())

    reached: list[int] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(seen)
    model.train()
    outputs = list(tensors_in(model(images)))
    if any(output.shape[0] != images.shape[0] or output.shape[-1] != classes for output in outputs):
        problems.append(f"training: outputs of shapes {[tuple(output.shape) for output in outputs]}")
    torch.stack([output.mean() for output in outputs]).sum().backward()
    if not reached:
        problems.append("training: no parameter got a gradient")
    return problems


# -- judgements -------------------------------------------------------------------------------------------------------


def near(old: int, new: int, factor: float, divisors: Iterable[int] = ()) -> bool:
    """Whether ``new`` is ``old * factor`` to the nearest multiple, at least one, of 1 or of a divisor of both."""
    common = math.gcd(old, new)
    return any(
        common % divisor == 0 and abs(new - max(divisor, old * factor)) <= max(divisor / 2, _TOLERANCE * old) + 1e-6
        for divisor in (1, *divisors)
    )


def judge_widths(row: Row, before: Sight, after: Sight, plan: reconfig.Plan, stages: reconfig.Stages) -> None:
    """Convolutions of the last stage at its ratio, all others at gamma, the classes as they were.

    A depthwise convolution has its input's channels, wherever those come from, so it only must stay depthwise.
    """
    if before.convolutions.keys() != after.convolutions.keys():
        row.blame("other convolutions run than in the original")
        return
    whole = {(layer, frozen.width) for frozen in plan.frozen for layer in frozen.layers}
    tied = {layer for frozen in plan.frozen if frozen.reason.startswith("tied") for layer in frozen.layers}
    in_part = {layer for frozen in plan.frozen for layer in frozen.layers}
    stage_of = {layer: stage for stage in stages for layer in stage.layers}
    total = changed = 0
    for path, old in before.convolutions.items():
        new, stage = after.convolutions[path], stage_of.get(path)
        # A convolution along channels (a gate), or the third axis of one in 3d (lambda layers), may change its length.
        if len(old.positions) > 1 and old.positions[:2] != new.positions[:2]:
            row.blame(f"{path} runs at {new.positions} instead of {old.positions}")
        last = stage is not None and stage.index == len(stages)
        if last:
            total += math.prod(old.weight)
            changed += math.prod(old.weight) if old.weight != new.weight else 0
        if old.depthwise:
            if not new.depthwise:
                row.blame(f"{path} is no longer depthwise")
        elif ((path, old.out) in whole and path not in tied) or old.out == before.outputs[0][-1]:
            if new.out != old.out:
                row.blame(f"{path} has to keep its width and goes from {old.out} to {new.out}")
        elif path in stages.stem:
            if new.out not in (old.out, round(old.out * row.gamma)):  # a residual may tie a stem into the first stage
                row.blame(f"{path} of the stem goes from {old.out} to {new.out}")
        elif stage is not None:
            factors = {row.gamma * (LAST if last else 1.0), *([row.gamma] if stage.dense else [])}
            if path in in_part:  # a sum of widths, some of which keep their size
                fits = sorted({1.0, row.gamma, row.gamma * LAST})
                if not fits[0] * old.out * (1 - _TOLERANCE) <= new.out <= fits[-1] * old.out * (1 + _TOLERANCE):
                    row.blame(f"{path} of stage {stage.index}, kept in part, goes from {old.out} to {new.out}")
            elif not any(near(old.out, new.out, factor, before.divisors) for factor in factors):
                row.blame(f"{path} of stage {stage.index} goes from {old.out} to {new.out}")
            elif last:
                row.deviation = max(row.deviation, min(abs(new.out / old.out - f) for f in factors))
    row.changed = changed / total if total else 0.0
    if row.kind == "cnn" and row.changed < _HALF_CHANGED:
        row.blame(f"only {row.changed:.0%} of the last stage's convolution weights change")


def judge_stages(model: nn.Module, before: Sight, size: int, stages: reconfig.Stages) -> str:
    """How the stages differ from timm's ``feature_info``: "agrees", "goes on: ..." or the differences; "" without one.

    Every stage must be there with its reduction (as a power of two) and width, and every feature must be a stage, but
    for those of a stem (the first, or at half resolution) and those that are only pooled, with no convolution at their
    resolution. A feature may be taken before its stage ends (at a module that is not its last, or before a
    convolutional head): the stage has to pass through the feature's width at that module, and it is named.
    """
    info = getattr(model, "feature_info", None)
    if info is None:
        return ""
    listed = info if isinstance(info, list) else info.get_dicts()
    features = {_power(feature["reduction"]): feature for feature in listed}
    convolved = {_power(size / seen.positions[-1]) for seen in before.convolutions.values()}
    differences: list[str] = []
    longer: list[str] = []
    for stage in stages:
        feature = features.get(_power(stage.reduction))
        where = f"stage {stage.index} (1/{stage.reduction}, {stage.width})"
        if feature is None:
            differences.append(f"{where} is no feature")
        elif stage.width != feature["num_chs"]:
            note = f"{where} has {feature['num_chs']} at {feature['module']}"
            (longer if _passes_through(before, stage, feature) else differences).append(note)
    missing = features.keys() - {_power(stage.reduction) for stage in stages} - {min(features), 1}
    for power in sorted(missing & convolved):
        feature = features[power]
        differences.append(f"1/{feature['reduction']} ({feature['num_chs']} at {feature['module']}) is no stage")
    return "; ".join(differences) or (GOES_ON + "; ".join(longer) if longer else AGREES)


def differs(row: Row) -> bool:
    """Whether the stages differ from ``feature_info``."""
    return bool(row.oracle) and row.oracle != AGREES and not row.oracle.startswith(GOES_ON)


def _power(reduction: float) -> int:
    return round(math.log2(reduction))


def _passes_through(before: Sight, stage: reconfig.Stage, feature: Mapping[str, Any]) -> bool:
    """Whether, between the stage's first and last layer, the feature's module returns the feature's width.

    Where the module returns no single tensor, any module that does so counts.
    """
    places = [before.order.index(layer) for layer in stage.layers if layer in before.order]
    modules = [feature["module"]] if feature["module"] in before.shapes else before.shapes
    return any(
        min(places) <= before.order.index(module) < max(places) and feature["num_chs"] in before.shapes[module]
        for module in modules
    )


def census(plan: reconfig.Plan, reading: Any) -> tuple[int, Counter[str]]:
    """Width groups in stages, and how many of them ``plan`` keeps, by reason."""
    widths, stage_of = reading.structure.widths, reading.placement.stage_of
    groups = [width for width in widths.free() if width in stage_of]
    reasons: Counter[str] = Counter()
    for frozen in plan.frozen:
        layers = set(frozen.layers)
        found = {
            width
            for layer in reading.structure.layers
            if layer.path in layers
            for width in channels_of([widths.resolve(layer.out)])
            if widths.sizes[width] == frozen.width and stage_of.get(width) == frozen.stage - 1
        }
        reasons[frozen.reason] += max(1, len(found))
    return len(groups), reasons


def fvcore_flops(model: nn.Module, images: Tensor) -> int:
    """Multiply-adds of ``model`` in eval mode, as fvcore counts them."""
    analysis = FlopCountAnalysis(model.eval(), images).unsupported_ops_warnings(False)
    with torch.no_grad():
        return int(analysis.uncalled_modules_warnings(False).tracer_warnings("none").total())


def judge_budgets(row: Row, model: nn.Module, images: Tensor) -> None:
    """How near budgets are met: parameters by the plan (judged elsewhere), FLOPs as fvcore counts the result."""
    plan = reconfig.plan(model, RULE, budget="params", example_input=images)
    row.params_miss = plan.params / plan.params_before - 1
    plan = reconfig.plan(model, RULE, budget="flops", example_input=images)
    row.flops_miss = plan.flops / plan.flops_before - 1
    try:
        row.flops_miss = fvcore_flops(plan.apply(model), images) / fvcore_flops(model, images) - 1
    except (RuntimeError, KeyError, AssertionError):  # fvcore cannot trace some hybrids: judge_counts says so
        return


def judge_counts(row: Row, result: nn.Module, plan: reconfig.Plan, images: Tensor) -> None:
    """The plan's parameters and multiply-adds against a count by hand and against fvcore's."""
    row.params_before, row.params, row.flops = plan.params_before, plan.params, plan.flops
    counted = sum(parameter.numel() for parameter in result.parameters())
    by_fvcore = parameter_count(result)[""]
    if not plan.params == counted == by_fvcore:
        row.blame(f"planned {plan.params} parameters, has {counted}, fvcore counts {by_fvcore}")
    try:
        flops = fvcore_flops(result, images)
    except Exception as error:  # a model that cannot be traced is fvcore's limit, not the result's
        row.fvcore_flops = f"{type(error).__name__}: {_line(error)}"
        return
    row.fvcore_flops = "equal" if flops == plan.flops else str(flops)


def judge(entry: Entry, gamma: float = 1.0) -> Row:
    """Everything about one model."""
    row = Row(entry.name, entry.source, entry.family, entry.kind, gamma)
    images = torch.rand(1, 3, entry.input_size, entry.input_size)
    before, stages, plan, result = _rewrite(row, build(entry), images)
    gc.collect()  # the original is gone, so that a large model and its result need not be held together
    after = look(result, images)
    if after.outputs != before.outputs:
        row.blame(f"outputs of shapes {after.outputs} instead of {before.outputs}")
    if before.finite and not after.finite:
        row.blame("the result's outputs are not finite")
    judge_widths(row, before, after, plan, stages)
    judge_counts(row, result, plan, images)
    row.blame(*train(result, entry, before.outputs[0][-1]))
    return row


def _rewrite(row: Row, model: nn.Module, images: Tensor) -> tuple[Sight, reconfig.Stages, reconfig.Plan, nn.Module]:
    """What was seen of ``model``, its stages, the plan and the result; times, census and oracle go into the row."""
    before = look(model, images)
    reading = read_model(model, images)
    stages = reading.placement.stages
    row.stages = " ".join(f"{stage.reduction}:{stage.width}" for stage in stages)
    row.oracle = judge_stages(model, before, images.shape[-1], stages)
    marks = fingerprint(model)
    row.plan_seconds, plan = timed(lambda: reconfig.plan(model, RULE, gamma=row.gamma, example_input=images))
    seconds, result = timed(lambda: plan.apply(model))
    row.apply_seconds = row.plan_seconds + seconds
    if fingerprint(model) != marks:
        row.blame("the caller's model or random state is not as it was")
    full = plan if row.gamma == CENSUS_GAMMA else reconfig.plan(model, RULE, gamma=CENSUS_GAMMA, example_input=images)
    row.groups, reasons = census(full, reading)
    row.frozen, row.reasons = reasons.total(), json.dumps(reasons) if reasons else ""
    if row.gamma == 1:  # a budget solves gamma itself
        judge_budgets(row, model, images)
    return before, stages, plan, result


def judge_peer(entry: Entry, row: Row) -> None:
    """Torch-pruning on the same model: every layer halved but the classifier; judged in the same way."""
    import torch_pruning

    model = build(entry)
    images = torch.rand(1, 3, entry.input_size, entry.input_size)
    before, parameters = look(model, images), sum(parameter.numel() for parameter in model.parameters())
    ignored = [
        module
        for module in model.modules()
        if before.outputs[0][-1] in (getattr(module, "out_features", 0), getattr(module, "out_channels", 0))
    ]

    def prune() -> None:
        importance = torch_pruning.importance.GroupMagnitudeImportance()
        torch_pruning.pruner.BasePruner(model, images, importance, pruning_ratio=0.5, ignored_layers=ignored).step()

    row.peer_seconds, _ = timed(prune)
    after = look(model, images)
    problems = train(model, entry, before.outputs[0][-1])
    if after.outputs != before.outputs:
        problems.append(f"outputs of shapes {after.outputs}")
    if sum(parameter.numel() for parameter in model.parameters()) >= parameters:
        problems.append("nothing was pruned")
    row.peer_right, row.peer_problem = "no" if problems else "yes", "; ".join(problems)


def build(entry: Entry) -> nn.Module:
    """The model as its library builds it, untrained."""
    torch.manual_seed(0)
    if entry.source == "timm":
        import timm

        return timm.create_model(entry.name, pretrained=False)
    import torchvision

    slow = {"init_weights": False} if entry.name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(entry.name, weights=None, **slow)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds (all runs have one thread, and other processes do not count), and the result."""
    began = time.process_time()
    result = call()
    return time.process_time() - began, result


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


# -- processes --------------------------------------------------------------------------------------------------------


def serve(pipe: Connection, gamma: float) -> None:
    """A worker: judges the entries that come, one by one, in a process whose Python and torch are started once."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    while True:
        entry, peer = pipe.recv()
        row = Row(entry.name, entry.source, entry.family, entry.kind, gamma)
        try:
            if peer:
                judge_peer(entry, row)
            else:
                row = judge(entry, gamma)
        except Exception as error:
            message = f"{type(error).__name__}: {_line(error)}"
            if peer:
                row.peer_right, row.peer_problem = "no", message
            else:
                row.blame(message)
        gc.collect()
        pipe.send(row)


class Worker:
    """A process that serves, started when needed and again after it was lost."""

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma
        self.process: Any = None

    def ask(self, entry: Entry, limit: float, peer: bool = False) -> Row:
        """The entry's row; a lost process or the limit (in seconds) is a problem of the row."""
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.pipe, other = context.Pipe()
            self.process = context.Process(target=serve, args=(other, self.gamma), daemon=True)
            self.process.start()
            other.close()
        problem = f"not done after {limit:g} s"
        try:
            self.pipe.send((entry, peer))
            if self.pipe.poll(limit):
                answer: Row = self.pipe.recv()
                return answer
        except (EOFError, OSError):
            self.process.join()
            problem = f"the process ended with exit code {self.process.exitcode}"
        self.close()
        row = Row(entry.name, entry.source, entry.family, entry.kind, self.gamma)
        if peer:
            row.peer_right, row.peer_problem = "no", problem
        else:
            row.blame(problem)
        return row

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None


def run(entries: Sequence[Entry], options: Options, console: Console, done: Callable[[Row], None]) -> list[Row]:
    """Judge all entries, misses shown and rows handed to ``done`` as they come; returns them in the list's order."""
    idle: SimpleQueue[Worker] = SimpleQueue()
    for _ in range(options.jobs):
        idle.put(Worker(options.gamma))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())

    def one(entry: Entry) -> Row:
        worker = idle.get()
        try:
            progress.update(task, description=entry.name)
            row = worker.ask(entry, options.limit)
            if options.peer:
                peer = worker.ask(entry, options.peer_limit, peer=True)
                row.peer_right, row.peer_problem = peer.peer_right, peer.peer_problem
                row.peer_seconds = peer.peer_seconds
        finally:
            idle.put(worker)
        row.right, row.problems = not row.problem_list, "; ".join(row.problem_list)
        for note in (*row.problem_list[:3], row.oracle if differs(row) else ""):
            if note:
                progress.console.print(f"[bold]{row.name}[/]: {note}", highlight=False, markup=True)
        progress.advance(task)
        done(row)
        return row

    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(options.jobs) as pool:
        task = progress.add_task("", total=len(entries))
        try:
            rows = list(pool.map(one, entries))
        finally:
            while not idle.empty():
                idle.get().close()
    return rows


# -- tables -----------------------------------------------------------------------------------------------------------


_COLUMNS = {item.name: item.type for item in fields(Row) if item.name != "problem_list"}


class Table:
    """The CSV, one line a model, written as the rows come so that an interrupted run keeps what it has."""

    def __init__(self, path: Path, resume: bool = False) -> None:
        self.path = path
        self.held = _read_rows(path) if resume and path.exists() else []
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(",".join(_COLUMNS) + "\n")
        for row in self.held:
            self.add(row)

    def add(self, row: Row) -> None:
        """Write a line."""
        values = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in asdict(row).items()}
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, _COLUMNS, extrasaction="ignore", lineterminator="\n").writerow(values)


def _read_rows(path: Path) -> list[Row]:
    """The rows of a table; a last one that was cut off is left out."""
    read: dict[str, Callable[[str], Any]] = {"bool": lambda text: text == "True", "int": int, "float": float}
    kinds = {name: read.get(str(kind), str) for name, kind in _COLUMNS.items()}
    with path.open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if None not in line.values()]
    return [Row(**{name: kinds[name](text) for name, text in line.items()}) for line in lines]


def summary(rows: Sequence[Row]) -> str:
    """The tables as markdown."""
    lines = [f'"{RULE}", γ={rows[0].gamma:g}, on {len(rows)} models.', ""]
    kinds = [(kind, [row for row in rows if row.kind == kind]) for kind in ("cnn", "hybrid")]
    header = ["", "models", "right", "stages agree", "FLOPs equal fvcore's", "widths frozen", "plan (s)", "apply (s)"]
    table = [[kind, *_figures(part)] for kind, part in (*kinds, ("all", list(rows))) if part]
    lines += [_markdown(header, table), ""]
    lines += ["Times are medians; the slowest: " + _slowest(rows), ""]
    if any(row.peer_right for row in rows):
        lines += [_side_by_side(rows), ""]
    if rows[0].gamma == 1:
        lines += [_budgets([row for row in rows if row.kind == "cnn" and row.params_before]), ""]
    families = sorted({(row.source, row.family) for row in rows})
    table = [
        [f"{source} {family}", *_figures([row for row in rows if (row.source, row.family) == (source, family)])]
        for source, family in families
    ]
    lines += [_markdown(["family", *header[1:]], table), ""]
    reasons: Counter[str] = Counter()
    for row in rows:
        for reason, count in json.loads(row.reasons or "{}").items():
            reasons[re.sub(r" \(in .*?\)", "", reason)] += count
    if reasons:
        lines += [
            "Why widths stay:",
            "",
            _markdown(["reason", "width groups"], [[r, str(n)] for r, n in reasons.most_common()]),
            "",
        ]
    for title, notes in (
        ("Not right", [(row.name, row.problems) for row in rows if not row.right]),
        ("Stages that differ from feature_info", [(row.name, row.oracle) for row in rows if differs(row)]),
        (
            "Stages that go on behind the module of feature_info",
            [(row.name, row.oracle.removeprefix(GOES_ON)) for row in rows if row.oracle.startswith(GOES_ON)],
        ),
    ):
        if notes:
            lines += [f"{title}:", "", _markdown(["model", "what"], [list(note) for note in notes]), ""]
    return "\n".join(lines)


def _figures(rows: Sequence[Row]) -> list[str]:
    with_oracle = [row for row in rows if row.oracle]
    groups = sum(row.groups for row in rows)
    counted = [row for row in rows if row.fvcore_flops]
    return [
        str(len(rows)),
        str(sum(row.right for row in rows)),
        f"{sum(not differs(row) for row in with_oracle)} of {len(with_oracle)}" if with_oracle else "",
        f"{sum(row.fvcore_flops == 'equal' for row in counted)} of {len(counted)}" if counted else "",
        f"{sum(row.frozen for row in rows)} of {groups}"
        + (f" ({sum(r.frozen for r in rows) / groups:.1%})" if groups else ""),
        f"{statistics.median(row.plan_seconds for row in rows):.2f}",
        f"{statistics.median(row.apply_seconds for row in rows):.2f}",
    ]


def _slowest(rows: Sequence[Row]) -> str:
    slowest = sorted(rows, key=lambda row: row.apply_seconds)[-3:]
    return ", ".join(f"{row.name} {row.apply_seconds:.1f} s" for row in reversed(slowest))


def _budgets(rows: Sequence[Row]) -> str:
    def say(name: str) -> str:
        misses = sorted((abs(getattr(row, name)), row.name) for row in rows)
        worst = ", ".join(f"{model} {miss:.2%}" for miss, model in reversed(misses[-3:]))
        return f"median miss {statistics.median(miss for miss, _ in misses):.4%}, worst {worst}"

    if not rows:
        return ""
    return f"Same parameters as the original, {len(rows)} CNNs: {say('params_miss')}. " + (
        f"Same FLOPs, as fvcore counts them: {say('flops_miss')}."
    )


def _side_by_side(rows: Sequence[Row]) -> str:
    both = [row for row in rows if row.right and row.peer_right == "yes"]
    right = sum(row.peer_right == "yes" for row in rows)
    text = f"torch-pruning, halving every layer, is right on {right} of {len(rows)}."
    if both:
        plan, apply, peer = (
            statistics.median(getattr(row, name) for row in both)
            for name in ("plan_seconds", "apply_seconds", "peer_seconds")
        )
        text += (
            f" On the {len(both)} that both get right its median is {peer:.2f} s; "
            f"plan takes {plan / peer:.2f} of that, apply {apply / peer:.2f}."
        )
    return text


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def entries(only: Sequence[str] = (), source: str = "all") -> list[Entry]:
    """The models of zoo.json, or those asked for.

    Raises:
        SystemExit: where a name is not in the list.
    """
    listed = [Entry(**item) for item in json.loads((ROOT / "zoo.json").read_text())]
    unknown = set(only) - {entry.name for entry in listed}
    if unknown:
        raise SystemExit(f"error: not in zoo.json: {', '.join(sorted(unknown))}")
    return [e for e in listed if (not only or e.name in only) and source in ("all", e.source)]


def main(options: Options) -> int:
    """Run, write the tables, and return 1 where a model is not right."""
    console = Console()
    chosen = entries(options.only, options.source)
    name = "zoo" if options.gamma == 1 else f"zoo-gamma{options.gamma:g}"
    table = Table(options.out / f"{name}.csv", options.resume)
    done = {(row.source, row.name): row for row in table.held}
    left = [entry for entry in chosen if (entry.source, entry.name) not in done]
    done |= {(row.source, row.name): row for row in run(left, options, console, table.add)}
    rows = [done[entry.source, entry.name] for entry in chosen]
    (options.out / f"{name}.md").write_text(summary(rows))
    console.print(
        f"{sum(row.right for row in rows)} of {len(rows)} right; see {options.out / name}.md", highlight=False
    )
    return 0 if all(row.right for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
