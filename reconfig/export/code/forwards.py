"""One forward a module, out of all of its calls in eval and in train mode."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from reconfig.errors import ExportError
from reconfig.export.code.layers import settings
from reconfig.export.code.merge import merged
from reconfig.export.code.method import Method, method
from reconfig.export.code.plain import is_layer, is_sequence, runs_through
from reconfig.export.code.record import Call
from reconfig.export.code.scopes import Scope, inlined, scopes
from reconfig.export.code.sizes import Value
from reconfig.export.code.text import Text
from reconfig.export.code.tree import Tree
from reconfig.trace.leaves import leaves

_NO_TRAINING = 'raise RuntimeError("the forward of this file is that of eval mode alone: call .eval()")'


@dataclass(frozen=True)
class Forward:
    """The method of a module's class."""

    arguments: tuple[str, ...]
    lines: tuple[Text, ...]


@dataclass(frozen=True)
class Forwards:
    """What each module is written as.

    Attributes:
        tree: the network.
        layers: the modules that are layers of torch.nn, with their settings; what is inside of one comes nowhere else.
        sequences: the modules that are sequences of modules.
        methods: the forwards of all others that are called.
        used: names of the tensors that are read.
    """

    tree: Tree
    layers: dict[str, dict[str, Any]]
    sequences: frozenset[str]
    methods: dict[str, Forward]
    used: frozenset[str]

    @property
    def written(self) -> dict[str, nn.Module]:
        """The modules that are not inside of a layer."""
        return {path: module for path, module in self.tree.modules.items() if not _is_inside(path, self.layers)}


def forwards(model: nn.Module, evaluating: Call, training: Call | None) -> Forwards:
    """The forwards of a network that was recorded in both modes, or in eval mode alone.

    What runs in a module whose calls differ from each other is written where it is called.

    Raises:
        ExportError: where something in it has no text.
    """
    apart: set[str] = set()
    while True:
        found, more = _attempt(model, [evaluating] if training is None else [evaluating, training], apart)
        if not more:
            return found
        if "" in more:
            raise ExportError(f"{type(model).__name__} takes other inputs in train mode than in eval mode")
        apart |= more


def _attempt(model: nn.Module, roots: list[Call], apart: set[str]) -> tuple[Forwards, set[str]]:
    tree = Tree(model)
    roots = [inlined(root, apart, tree) for root in roots]
    found: dict[int, Scope] = {}
    for root in roots:
        found |= scopes(root, tree)
    calls = [_by_path(root) for root in roots]
    every: dict[str, list[Call]] = defaultdict(list)
    for by_path in calls:
        for path, some in by_path.items():
            every[path] += some
    layers: dict[str, dict[str, Any]] = {}
    for path, module in tree.modules.items():
        made = settings(module) if path and not _is_inside(path, layers) else None
        if made is not None and is_layer(every.get(path, ()), found):
            layers[path] = made
    sequences = frozenset(
        path
        for path, module in tree.modules.items()
        if path and is_sequence(module) and runs_through(module, every.get(path, ()), found, tree)
    )
    plain = sequences | layers.keys()
    every = {path: some for path, some in every.items() if not _is_inside(path, layers)}
    methods: dict[str, Forward] = {}
    different: set[str] = set()
    for path in every.keys() - plain:
        texts = [{method(call, found, tree, plain) for call in by_path.get(path, ())} for by_path in calls]
        forward = _forward(texts, whole=path == "")
        if forward is None:
            different.add(path)
        else:
            methods[path] = forward if path or len(roots) > 1 else _evaluating_alone(forward)
    used = frozenset(value.name for root in roots for value in _named(root))
    return Forwards(tree, layers, sequences, methods, used), different


def _forward(texts: list[set[Method]], *, whole: bool) -> Forward | None:
    """The forward that all of these are; None where there is no such thing. That of the ``whole`` network may return
    other things in train mode.
    """
    if any(len(some) > 1 for some in texts):
        return None
    modes = [next(iter(some)) if some else None for some in texts]
    if len(modes) == 1:
        (only,) = modes
        assert only is not None
        return Forward(only.arguments, tuple(line for block in only.blocks for line in block))
    evaluating, training = modes[0] or modes[1], modes[1] or modes[0]
    assert evaluating is not None
    assert training is not None
    if evaluating.arguments != training.arguments or (evaluating.gives != training.gives and not whole):
        return None
    return Forward(evaluating.arguments, merged(evaluating, training))


def _evaluating_alone(forward: Forward) -> Forward:
    return Forward(forward.arguments, (Text("if self.training:"), Text("    " + _NO_TRAINING), *forward.lines))


def _is_inside(path: str, layers: dict[str, dict[str, Any]]) -> bool:
    """Whether a module is a part of a layer of torch.nn."""
    parts = path.split(".")
    return any(".".join(parts[:length]) in layers for length in range(1, len(parts)))


def _by_path(root: Call) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = defaultdict(list)

    def visit(call: Call) -> None:
        found[call.path].append(call)
        for statement in call.body:
            if isinstance(statement, Call):
                visit(statement)

    visit(root)
    return found


def _named(call: Call) -> Iterator[Value]:
    """Parameters and the like that are read anywhere inside."""
    for statement in call.body:
        if isinstance(statement, Call):
            yield from _named(statement)
        else:
            yield from (value for value in leaves(vars(statement), Value) if value.name)
