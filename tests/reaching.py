"""What an object reaches, by the garbage collector; as a program, the walk from results to originals over zoo.json.

PYTHONPATH=. python tests/reaching.py [NAME ...]
"""

from __future__ import annotations

import gc
import sys
import types
import weakref
from collections.abc import Iterator

import torch
from torch import Tensor, nn

import reconfig
from reconfig.trace.example import probe


def reached(root: object) -> Iterator[object]:
    """Everything behind ``root``, up to classes, Python modules and the globals of functions."""
    seen: dict[int, object] = {}
    left = [root]
    while left:
        value = left.pop()
        if id(value) in seen or isinstance(value, type | types.ModuleType | types.CodeType | str | int | float):
            continue
        seen[id(value)] = value
        yield value
        if isinstance(value, weakref.ref):
            left.append(value())
        found = gc.get_referents(value)
        if isinstance(value, types.FunctionType):
            found = [item for item in found if item is not value.__globals__]
        left.extend(found)


def parts(model: nn.Module) -> list[object]:
    """Modules and parameters that a model reaches, registered or not, and its buffers."""
    return [*(value for value in reached(model) if isinstance(value, nn.Module | nn.Parameter)), *model.buffers()]


def belongs_to(result: nn.Module, original: nn.Module) -> list[str]:
    """What the result reaches of the original: modules, parameters, buffers, their memory, bound methods."""
    owned = {id(part): part for part in parts(original)}
    memory = {part.untyped_storage().data_ptr() for part in owned.values() if isinstance(part, Tensor)} - {0}
    found = []
    for value in reached(result):
        bound = isinstance(value, types.MethodType | types.BuiltinMethodType) and id(value.__self__) in owned
        if bound or id(value) in owned:
            found.append(f"{type(value).__name__} {value!r:.60}")
        elif isinstance(value, Tensor) and value.untyped_storage().data_ptr() in memory:
            found.append(f"a tensor in the memory of the original, {tuple(value.shape)}")
    return found


def fingerprint(model: nn.Module) -> list[object]:
    """The state of a model to the bit, with what its modules keep, by identity."""
    state: list[object] = []
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        held = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        state.append((name, id(tensor), tensor.dtype, tuple(tensor.shape), hash(held)))
    for name, module in model.named_modules():
        state.append((name, {key: id(value) for key, value in vars(module).items()}))
    return state


def main() -> None:
    """Plan every model of zoo.json at 10-10-4, apply where it is of at most 60 million parameters, and look."""
    from benchmarks.judging.models import build, entries

    faults = applied = 0
    listed = entries(sys.argv[1:])
    for entry in listed:
        model = build(entry)
        before = fingerprint(model)
        skeleton = probe(model, None).skeleton
        plan = reconfig.plan(model, "10-10-4")
        found = belongs_to(skeleton, model)
        if plan.params_before <= 60_000_000:
            applied += 1
            found += belongs_to(plan.apply(model), model)
        if fingerprint(model) != before:
            found.append("the original was changed")
        faults += bool(found)
        print(entry.name, f"{plan.params_before:,}", found or "ok", flush=True)
    print(f"{len(listed)} models planned, {applied} applied, {faults} with something of the original")


if __name__ == "__main__":
    main()
