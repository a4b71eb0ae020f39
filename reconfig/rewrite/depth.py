"""Drop and clone blocks of a skeleton, as its plan says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from reconfig.trace.skeleton import clone, within


@dataclass(frozen=True)
class DepthEdit:
    """One container's children after the change.

    A module with a forward of its own keeps the names that it calls: a block that is dropped there becomes an identity
    (its source is ""), and clones stand in a Sequential of the block's name ("block2.0", "block2.1").

    Attributes:
        container: module name of the container.
        children: (new name, name of the child that it is or is cloned from), in order.
    """

    container: str
    children: tuple[tuple[str, str], ...]


def edit_depth(model: nn.Module, edits: Sequence[DepthEdit]) -> None:
    """Drop and clone children of ``model`` (a skeleton) in place."""
    for edit in edits:
        container = model.get_submodule(edit.container)
        old = {name: child for name, child in container._modules.items() if child is not None}
        modules = list(model.modules())
        used: set[str] = set()
        container._modules.clear()
        for name, source in edit.children:
            block = old[source] if source else nn.Identity()
            if source in used:
                inside = set(block.modules())
                around = [module for module in modules if module not in inside]
                block = clone(block, lambda _, tensor: tensor.detach().clone(), around)
            used.add(source)
            first, _, inner = name.partition(".")
            if inner:
                sequence = container._modules.setdefault(first, nn.Sequential())
                assert isinstance(sequence, nn.Sequential)
                sequence.append(block)
            else:
                container._modules[name] = block


def origin(path: str, edits: Sequence[DepthEdit]) -> str:
    """The name that a module or parameter of the edited model had in the original."""
    for edit in edits:
        prefix = edit.container + "." if edit.container else ""
        if not path.startswith(prefix):
            continue
        rest = path[len(prefix) :]
        for name, source in edit.children:
            if source and within(rest, name):
                return f"{prefix}{source}{rest[len(name) :]}"
    return path
