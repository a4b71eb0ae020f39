"""Which modules are called as layers, whatever runs inside: those of torch.nn, and sequences of modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from reconfig.export.code.record import Alias, Call
from reconfig.export.code.scopes import Scope, read
from reconfig.export.code.sizes import Value
from reconfig.export.code.tree import Tree
from reconfig.trace.leaves import leaves


def is_layer(calls: Iterable[Call], scopes: Mapping[int, Scope]) -> bool:
    """Whether all calls of a module take tensors and settings alone, and nothing leaves it but what it returns."""
    return all(
        _only_given(call, scopes[id(call)]) and set(scopes[id(call)].gives) <= set(leaves(call.output, Value))
        for call in calls
    )


def is_sequence(module: nn.Module) -> bool:
    """Whether a module is, and runs like, an ``nn.Sequential``."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def runs_through(module: nn.Module, calls: Iterable[Call], scopes: Mapping[int, Scope], tree: Tree) -> bool:
    """Whether all calls of a sequence hand one tensor from one module to the next, and nothing else."""
    return all(_runs_through(module, call, scopes, tree) for call in calls)


def _runs_through(module: nn.Module, call: Call, scopes: Mapping[int, Scope], tree: Tree) -> bool:
    children = [child for child in module._modules.values() if child is not None]
    aliases = {id(s.target): s.source for s in call.body if isinstance(s, Alias)}
    steps = [statement for statement in call.body if not isinstance(statement, Alias)]
    if len(steps) != len(children) or not _single(call, scopes[id(call)]):
        return False
    if len(call.args) != 1 or call.kwargs or not isinstance(call.args[0], Value):
        return False
    tensor = call.args[0]
    for child, step in zip(children, steps, strict=True):
        if not isinstance(step, Call) or tree.modules[step.path] is not child:
            return False
        scope = scopes[id(step)]
        if scope.takes != (tensor,) or not _single(step, scope) or step.args != (tensor,) or step.kwargs:
            return False
        tensor = scope.gives[0]
    end = call.output
    while id(end) in aliases:
        end = aliases[id(end)]
    return end is tensor


def _single(call: Call, scope: Scope) -> bool:
    return isinstance(call.output, Value) and scope.gives == (call.output,)


def _only_given(call: Call, scope: Scope) -> bool:
    given: Any = (call.args, call.kwargs)
    values = list(leaves(given, Value))
    return list(read(given)) == values and all(item in values for item in scope.takes)
