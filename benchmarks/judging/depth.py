"""One block dropped from, and one added to, each stage that has repeated blocks; the result judged from outside."""

from __future__ import annotations

import copy
import gc
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import reconfig
from benchmarks.judging.listing import small
from benchmarks.judging.models import Entry, build
from benchmarks.judging.row import describe
from benchmarks.judging.sight import Sight, fingerprint, look
from benchmarks.judging.training import train

RIGHT, REFUSED = "right", "refused: "
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass
class DepthRow:
    """What was seen of one stage of a model; one line of the CSV. Stage 0 stands for a model that has no pair."""

    name: str
    source: str
    family: str
    kind: str
    stage: int = 0
    blocks: int = 0
    dropped: str = ""
    """With a block less: "right", "refused: " and the error, or what is wrong."""
    added: str = ""
    """With a block more, likewise."""
    seconds: float = 0.0
    """Processor seconds that judging both took."""

    @property
    def verdict(self) -> str:
        """ "right", "refused" or "wrong": the worse of both; "" where there is no pair."""
        said = [text for text in (self.dropped, self.added) if text]
        if any(text != RIGHT and not text.startswith(REFUSED) for text in said):
            return "wrong"
        return "" if not self.stage else RIGHT if set(said) == {RIGHT} else "refused"

    def notes(self) -> list[str]:
        """What is not right."""
        return [
            f"stage {self.stage}, {change}: {said}"
            for change, said in (("a block less", self.dropped), ("a block more", self.added))
            if said not in ("", RIGHT)
        ]

    @classmethod
    def of(cls, entry: Entry, problem: str = "") -> DepthRow:
        """The row of a model without a pair."""
        return cls(entry.name, entry.source, entry.family, entry.kind, dropped=problem)


def depth_rows_of(entry: Entry) -> list[DepthRow]:
    """``judge_depth`` with what it raises as a problem; a model without a pair has one row of no stage."""
    began = time.process_time()
    try:
        rows = list(judge_depth(entry)) or [DepthRow.of(entry)]
    except Exception as error:
        rows = [DepthRow.of(entry, describe(error))]
    rows[0].seconds += time.process_time() - began - sum(row.seconds for row in rows)
    return rows


def judge_depth(entry: Entry) -> Iterator[DepthRow]:
    """A row for each stage with repeated blocks, on images as small as the network takes them."""
    model = build(entry)
    if not entry.shape:
        entry = replace(entry, input_size=small(copy.deepcopy(model).to("meta"), entry.input_size))
    images = entry.examples(1)
    before, marks = look(model, images), fingerprint(model)
    stages = reconfig.stages(model, images)
    for stage in stages:
        blocks = stage.blocks or tuple(copies(model, before, stage))
        if len(blocks) < 2:
            continue
        row, began = DepthRow.of(entry), time.process_time()
        row.stage, row.blocks = stage.index, len(blocks)
        row.dropped, row.added = (
            _asked(entry, model, images, before, marks, stages, replace(stage, blocks=blocks), change)
            for change in (-1, 1)
        )
        row.seconds = time.process_time() - began
        yield row


def copies(model: nn.Module, before: Sight, stage: reconfig.Stage) -> list[str]:
    """Modules of a stage that stand in one container and are copies of each other: blocks, whatever the stages say."""
    modules = dict(model.named_modules())
    found: dict[object, list[str]] = {}
    for layer in stage.layers:
        path = layer
        while path:
            path = path.rpartition(".")[0]
            parent = modules[path.rpartition(".")[0]]
            if isinstance(parent, _CONTAINERS) and path in before.shapes and not isinstance(modules[path], _CONTAINERS):
                shapes = tuple((name, tensor.shape) for name, tensor in modules[path].state_dict().items())
                same = (path.rpartition(".")[0], type(modules[path]), before.shapes[path], shapes)
                if path not in found.setdefault(same, []):
                    found[same].append(path)
    return max((paths for paths in found.values() if len(paths) > 1), key=len, default=[])


def _asked(
    entry: Entry,
    model: nn.Module,
    images: Tensor,
    before: Sight,
    marks: object,
    stages: reconfig.Stages,
    stage: reconfig.Stage,
    change: int,
) -> str:
    """What became of one change: "right", "refused: " and the reason, or what is wrong."""
    depths = tuple(
        len(stage.blocks) + change if one.index == stage.index else max(1, len(one.blocks)) for one in stages
    )
    # A dense stage with another number of layers inherits nothing.
    weights = "fresh" if stage.dense else "inherit"
    try:
        plan = reconfig.plan(model, reconfig.Rule(depth=depths), weights=weights, example_input=images)
        result = plan.apply(model)
        problems = [] if fingerprint(model) == marks else ["the caller's model or random state is not as it was"]
        with torch.random.fork_rng(devices=()):  # the next change finds the random state as it is in ``marks``
            after = look(result, images)
            problems += judge_blocks(model, result, before, after, stage, change)
            if after.outputs != before.outputs:
                problems.append(f"outputs of shapes {after.outputs} instead of {before.outputs}")
            if before.finite and not after.finite:
                problems.append("the result's outputs are not finite")
            if not stage.dense:
                problems += judge_weights(model, result, stage.blocks, change)
            problems += train(result, entry, before.outputs[0][-1])
    except reconfig.DepthError as error:
        return REFUSED + str(error).splitlines()[0]
    except Exception as error:
        problems = [describe(error)]
    gc.collect()
    return "; ".join(problems) or RIGHT


def judge_blocks(
    model: nn.Module, result: nn.Module, before: Sight, after: Sight, stage: reconfig.Stage, change: int
) -> list[str]:
    """Whether one block more, or less, was really run, of the stage's size, and all that is no block as before."""
    containers = _containers(model, stage.blocks)
    old, new = (
        Counter(sight.shapes.get(path) for path in sight.order if path in units)
        for sight, units in (
            (before, set(_units(model, model, containers))),
            (after, set(_units(result, model, containers))),
        )
    )
    problems = []
    if new.total() - old.total() != change:
        problems.append(f"{old.total()} blocks ran before and {new.total()} now, which should be {change:+d}")
    elif not stage.dense:  # where layers see those before them, widths differ behind the change
        more, own = (new - old) + (old - new), {before.shapes.get(path) for path in stage.blocks}
        if more.total() != 1 or not more.keys() <= own:
            problems.append(f"blocks of other shapes ran: {dict(old)} before, {dict(new)} now")
    inside = tuple(f"{container}." if container else "" for container in containers)
    if "" not in containers:
        outside = [
            {
                path: (seen.positions, seen.weight if not stage.dense else ())
                for path, seen in sight.convolutions.items()
                if not path.startswith(inside)
            }
            for sight in (before, after)
        ]
        if outside[0] != outside[1]:
            problems.append("other convolutions than those of blocks differ")
    return problems


def judge_weights(model: nn.Module, result: nn.Module, blocks: Sequence[str], change: int) -> list[str]:
    """Whether blocks that stay have the original's tensors in the original's order, and all else has its own."""
    containers = _containers(model, blocks)
    old_units, new_units = _units(model, model, containers), _units(result, model, containers)
    old, new = ([unit.state_dict() for unit in units.values()] for units in (old_units, new_units))
    fewer, more = (old, new) if change > 0 else (new, old)
    # All positions at which the one that is too many may stand: before it and behind it both agree.
    fits = any(
        all(_same(a, b) for a, b in zip(fewer, [*more[:skip], *more[skip + 1 :]], strict=True))
        and (change < 0 or any(_same(more[skip], unit) for unit in old))
        for skip in (range(len(more)) if len(more) == len(fewer) + 1 else ())
    )
    problems = [] if fits else ["the blocks have not the tensors of the original's, in its order"]
    rest = [
        {
            name: tensor
            for name, tensor in network.state_dict().items()
            if not name.startswith(tuple(f"{u}." for u in units))
        }
        for network, units in ((model, old_units), (result, new_units))
    ]
    if not _same(*rest):
        problems.append("tensors outside of blocks are not the original's")
    return problems


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def _containers(model: nn.Module, blocks: Sequence[str]) -> list[str]:
    """What these blocks are in; where one block is a part of what stands beside others, what the others are in."""
    found = dict.fromkeys(path.rpartition(".")[0] for path in blocks)
    above = {path: path.rpartition(".")[0] for path in found if path}
    return [
        path
        for path in found
        if above.get(path) not in found or not isinstance(model.get_submodule(above[path]), _CONTAINERS)
    ]


def _units(network: nn.Module, model: nn.Module, containers: Sequence[str]) -> dict[str, nn.Module]:
    """Modules with tensors in these containers, by path; of a Sequential that took a block's place, its parts.

    One whose tensors are those of a module of ``model`` took no place: where a block went, it moved up. What other
    containers are in is none.
    """
    units: dict[str, nn.Module] = {}
    for container in containers:
        prefix = f"{container}." if container else ""
        known = [_shapes(child) for child in model.get_submodule(container).children()]
        for name, child in network.get_submodule(container).named_children():
            if any(f"{other}.".startswith(f"{prefix}{name}.") for other in containers):
                continue
            parts = {f"{prefix}{name}": child}
            if isinstance(child, nn.Sequential) and _shapes(child) not in known:
                parts = {f"{prefix}{name}.{number}": part for number, part in enumerate(child)}
            units |= {path: part for path, part in parts.items() if part.state_dict()}
    return units


def _shapes(module: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(tensor.shape)) for name, tensor in module.state_dict().items()]
