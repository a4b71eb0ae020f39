"""Depth: which blocks of a stage can be dropped or cloned, and what that does to dense stages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from reconfig.errors import DepthError
from reconfig.rewrite.depth import DepthEdit
from reconfig.staging.stages import Stage, Stages
from reconfig.trace.record import Capture
from reconfig.trace.skeleton import within
from reconfig.widths.structure import Structure

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class DenseEdit:
    """Dense layers dropped from the end of a stage, or its last one cloned.

    Attributes:
        layers: module names, before the edit, of the layers that go, or of the one that is cloned.
        clones: module names, after the edit, of that one and its clones; each sees what those before it add.
    """

    layers: tuple[str, ...]
    clones: tuple[str, ...] = ()


def depth_edits(
    model: nn.Module, capture: Capture, stages: Stages, depths: Sequence[int]
) -> tuple[tuple[DepthEdit, ...], tuple[DenseEdit, ...]]:
    """The edits that give each stage its number of blocks, and what they mean for densely connected stages.

    A block can be dropped or cloned if it sits in a Sequential, ModuleList or ModuleDict, or is a numbered attribute
    (``block2``), and its output has its input's shape; in a densely connected stage, if it is one of its layers.
    Blocks are dropped from the end of the stage; the last one is cloned. A stage without blocks has a depth of 1, which
    leaves it as it is.

    Raises:
        DepthError: where a stage has no such blocks, or too few.
    """
    contents: dict[str, list[tuple[str, str]]] = {}
    dense: list[tuple[list[str], int]] = []
    for stage, depth in zip(stages, depths, strict=True):
        extra = depth - max(1, len(stage.blocks))
        if extra == 0:
            continue
        repeatable = _repeatable(model, capture, stage)
        needed = -extra if extra < 0 else 1
        if len(repeatable) < needed or not stage.blocks:
            raise _too_few(stage, depth, repeatable)
        changed = repeatable[extra:] if extra < 0 else repeatable[-1:]
        for path in changed:
            container, leaf = _split(path)
            children = contents.setdefault(container, _children(model, container))
            position = max(index for index, child in enumerate(children) if child[1] == leaf)
            children[position : position + 1] = [] if extra < 0 else [(leaf, leaf), *[("", leaf)] * extra]
        if stage.dense:
            dense.append((changed, max(0, extra)))
    edits = {container: _edit(model, container, children) for container, children in contents.items()}
    return tuple(edits.values()), tuple(_dense_edit(edits, changed, clones) for changed, clones in dense)


def least_depths(model: nn.Module, capture: Capture, stages: Stages) -> tuple[int, ...]:
    """The fewest blocks that each stage can have: those that cannot be dropped, and at least one.

    Raises:
        DepthError: where a stage has no blocks.
    """
    for stage in stages:
        if not stage.blocks:
            example = "d" + "-".join(str(max(1, len(one.blocks))) for one in stages)
            raise DepthError(
                f"stage {stage.index} has no blocks (plain layers {', '.join(stage.layers[:3])}), so no ratio of "
                f"depths scales it: write the depths themselves, with 1 for it, as in {example!r}"
            )
    return tuple(max(1, len(stage.blocks) - len(_repeatable(model, capture, stage))) for stage in stages)


def _edit(model: nn.Module, container: str, children: list[tuple[str, str]]) -> DepthEdit:
    if _is_container(model, container):
        return DepthEdit(container, _named(children))
    sources = [source for _, source in children]
    kept = []
    for name in model.get_submodule(container)._modules:
        count = sources.count(name)
        if count > 1:
            kept += [(f"{name}.{number}", name) for number in range(count)]
        else:
            kept.append((name, name if count else ""))
    return DepthEdit(container, tuple(kept))


def _dense_edit(edits: Mapping[str, DepthEdit], changed: Sequence[str], clones: int) -> DenseEdit:
    if not clones:
        return DenseEdit(tuple(changed))
    container, leaf = _split(changed[0])
    names = [name for name, source in edits[container].children if source == leaf]
    return DenseEdit(tuple(changed), tuple(_join(container, name) for name in names))


def _too_few(stage: Stage, depth: int, repeatable: Sequence[str]) -> DepthError:
    if not stage.blocks:
        return DepthError(
            f"stage {stage.index} has no blocks (plain layers {', '.join(stage.layers[:3])}), so its depth "
            f"cannot become {depth}: "
            "write 1 for it, which leaves it as it is, or use a width rule, as in '10-10-4'"
        )
    fixed = [path for path in stage.blocks if path not in repeatable]
    return DepthError(
        f"stage {stage.index} has {len(stage.blocks)} blocks and cannot have {depth}: only blocks whose output has the "
        "input's shape and that sit in a Sequential, ModuleList or ModuleDict, or are numbered attributes, can be "
        f"dropped or cloned, which {', '.join(fixed)} "
        f"{'does' if len(fixed) == 1 else 'do'} not; "
        + (f"the least here is {len(fixed)}" if repeatable else f"keep {len(stage.blocks)}")
    )


def _repeatable(model: nn.Module, capture: Capture, stage: Stage) -> list[str]:
    """Blocks of the stage that can be dropped or cloned."""
    found = []
    for path in stage.blocks:
        container, leaf = _split(path)
        calls = [call for call in capture.module_calls if call.path == path]
        same = all(
            len(call.inputs) == len(call.outputs) == 1 and call.inputs[0].shape == call.outputs[0].shape
            for call in calls
        )
        if _is_container(model, container):
            found += [path] if same or stage.dense else []
        elif same and re.search(r"\d$", leaf):
            found.append(path)
    return found[1:] if stage.dense else found  # a dense stage without a layer is none


def _is_container(model: nn.Module, path: str) -> bool:
    return isinstance(model.get_submodule(path), _CONTAINERS)


def _split(path: str) -> tuple[str, str]:
    container, _, leaf = path.rpartition(".")
    return container, leaf


def _join(container: str, name: str) -> str:
    return f"{container}.{name}" if container else name


def _children(model: nn.Module, container: str) -> list[tuple[str, str]]:
    return [(name, name) for name in model.get_submodule(container)._modules]


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


def dense_changes(structure: Structure, edit: DenseEdit) -> Iterator[tuple[str, dict[int, int]]]:
    """Sizes of widths that differ after a ``DenseEdit``, of which ``structure`` tells for the network before it.

    Yields (module, sizes): inside this module ("" is the whole network) the tensors of the modules they come from are
    as long as their extents say with these sizes. A later pair is the exception to an earlier one.
    """
    widths = structure.widths
    made = set().union(*(_made_inside(structure, path) for path in edit.layers))
    if not edit.clones:
        yield "", dict.fromkeys(made, 0)
        return
    (source,) = edit.layers
    grown = made & _used(structure, [name for name in structure.params if not within(name, source)])
    entering = min(_used(structure, [name for name in structure.params if within(name, source)]) - made)
    growth = sum(widths.sizes[width] for width in grown)
    yield "", {width: widths.sizes[width] * len(edit.clones) for width in grown}
    for number, name in enumerate(edit.clones):
        own = {width: widths.sizes[width] for width in grown}
        yield name, own | {entering: widths.sizes[entering] + number * growth}


def _made_inside(structure: Structure, path: str) -> set[int]:
    """Widths that only layers inside this module make."""
    inside: set[int] = set()
    outside: set[int] = set()
    for layer in structure.layers:
        made = structure.widths_in(layer.out)
        (inside if within(layer.path, path) else outside).update(made)
    return inside - outside


def _used(structure: Structure, names: Sequence[str]) -> set[int]:
    return structure.widths_in(*(extent for name in names for extent in structure.params[name]))
