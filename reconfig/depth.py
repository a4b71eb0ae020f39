"""Depth: which blocks of a stage can be dropped or cloned, and the edit that does it."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from reconfig.capture import Capture
from reconfig.errors import DepthError
from reconfig.stages import Stage, Stages

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class DepthEdit:
    """One container's children after the change.

    Attributes:
        container: module name of the container.
        children: (new name, name of the child that it is or is cloned from), in order.
    """

    container: str
    children: tuple[tuple[str, str], ...]


def depth_edits(model: nn.Module, capture: Capture, stages: Stages, depths: Sequence[int]) -> tuple[DepthEdit, ...]:
    """The edits that give each stage its number of blocks.

    A block can be dropped or cloned if it sits in a Sequential, ModuleList or ModuleDict and its output has its
    input's shape. Blocks are dropped from the end of the stage; the last one is cloned.

    Raises:
        DepthError: where a stage has no such blocks, or too few.
    """
    contents: dict[str, list[tuple[str, str]]] = {}
    for stage, depth in zip(stages, depths, strict=True):
        extra = depth - len(stage.blocks)
        if extra == 0 and stage.blocks:
            continue
        repeatable = [path for path in stage.blocks if _repeats(model, capture, path)]
        needed = -extra if extra < 0 else 1
        if len(repeatable) < needed or not stage.blocks:
            raise _too_few(stage, depth, repeatable)
        if extra < 0:
            for path in repeatable[extra:]:
                children = _children(model, contents, path)
                children.remove(next(child for child in children if child[1] == _leaf(path)))
        else:
            children = _children(model, contents, repeatable[-1])
            source = _leaf(repeatable[-1])
            last = max(index for index, child in enumerate(children) if child[1] == source)
            children[last + 1 : last + 1] = [("", source)] * extra
    return tuple(DepthEdit(container, _named(children)) for container, children in contents.items())


def _too_few(stage: Stage, depth: int, repeatable: Sequence[str]) -> DepthError:
    if not stage.blocks:
        return DepthError(
            f"stage {stage.index} has no blocks (plain layers {', '.join(stage.layers[:3])}), so its depth "
            f"cannot become {depth}: "
            "use a width rule for this model, as in '10-10-4'"
        )
    fixed = [path for path in stage.blocks if path not in repeatable]
    return DepthError(
        f"stage {stage.index} has {len(stage.blocks)} blocks and cannot have {depth}: only blocks whose output has the "
        "input's shape and that sit in a Sequential, ModuleList or ModuleDict can be dropped or cloned, "
        f"which {', '.join(fixed)} "
        f"{'does' if len(fixed) == 1 else 'do'} not; "
        + (f"the least here is {len(fixed)}" if repeatable else f"keep {len(stage.blocks)}")
    )


def _repeats(model: nn.Module, capture: Capture, path: str) -> bool:
    calls = [call for call in capture.calls if call.path == path]
    container = model.get_submodule(path.rpartition(".")[0])
    return isinstance(container, _CONTAINERS) and all(
        len(call.inputs) == 1 and call.inputs == call.outputs for call in calls
    )


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _children(model: nn.Module, contents: dict[str, list[tuple[str, str]]], path: str) -> list[tuple[str, str]]:
    container = path.rpartition(".")[0]
    if container not in contents:
        contents[container] = [(name, name) for name in model.get_submodule(container)._modules]
    return contents[container]


def _named(children: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Numbered children are numbered anew; a clone among named ones takes the next free name (block2, block3, ...)."""
    if all(source.isdigit() for _, source in children):
        return tuple((str(number), source) for number, (_, source) in enumerate(children))
    taken = {name for name, _ in children if name}
    result = []
    for name, source in children:
        if not name:
            stem, number = re.fullmatch(r"(.*?)(\d*)", source).groups()  # type: ignore[union-attr]
            count = int(number or 1)
            while (name := f"{stem}{count}") in taken:
                count += 1
            taken.add(name)
        result.append((name, source))
    return tuple(result)


def edit_depth(model: nn.Module, edits: Sequence[DepthEdit]) -> None:
    """Drop and clone children of ``model`` (a skeleton) in place."""
    for edit in edits:
        container = model.get_submodule(edit.container)
        old = dict(container._modules)
        used: set[str] = set()
        container._modules.clear()
        for name, source in edit.children:
            container._modules[name] = copy.deepcopy(old[source]) if source in used else old[source]
            used.add(source)


def origin(path: str, edits: Sequence[DepthEdit]) -> str:
    """The name that a module or parameter of the edited model had in the original."""
    for edit in edits:
        prefix = edit.container + "." if edit.container else ""
        if path.startswith(prefix):
            child, dot, rest = path[len(prefix) :].partition(".")
            source = dict(edit.children).get(child)
            if source is not None:
                return f"{prefix}{source}{dot}{rest}"
    return path
