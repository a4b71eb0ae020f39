"""Whether a run left traces in a model: a count, a cache, a tensor that a module keeps."""

from __future__ import annotations

import dataclasses
import operator
import types
from collections.abc import Hashable, Iterator
from typing import Any

from torch import Tensor, nn

from reconfig.trace.reach import attributes, is_atom
from reconfig.trace.skeleton import modules_of

_Kept = list[tuple[list[object], Hashable]]


class _UnseenError(Exception):
    """A module keeps something that can change without being seen to."""


def kept(model: nn.Module) -> _Kept | None:
    """What the modules keep, to be compared with what they keep later; None where that could change unseen.

    The numbers in parameters and buffers do not count.
    """
    try:
        return [_kept(module) for module in modules_of(model).values()]
    except _UnseenError:
        return None


def unchanged(before: _Kept | None, model: nn.Module) -> bool:
    """Whether the modules keep what they kept ``before``, for certain."""
    after = kept(model)
    if before is None or after is None or len(before) != len(after):
        return False
    return all(
        ours == theirs and len(old) == len(new) and all(map(operator.is_, old, new))
        for (old, ours), (new, theirs) in zip(before, after, strict=True)
    )


def _kept(module: nn.Module) -> tuple[list[object], Hashable]:
    """The very objects, and what those are made of that can change in themselves."""
    held = [*vars(module).values()]
    for registry in (module._parameters, module._buffers, module._modules):
        held.extend(registry.values())
    return held, tuple((name, _contents(value)) for name, value in attributes(module))


def _contents(value: Any) -> Hashable:
    """A value to compare instead of one that can change.

    Raises:
        _UnseenError: where it is of a kind that nothing is known about.
    """
    if is_atom(value) or isinstance(value, nn.Module | types.BuiltinFunctionType):
        return id(value)
    if isinstance(value, Tensor):
        return id(value), value._version
    if type(value) is types.FunctionType and not value.__closure__:
        return id(value)
    if isinstance(value, dict | list | tuple | set):
        items = value.items() if isinstance(value, dict) else value
        return type(value), tuple(_all(items))
    if dataclasses.is_dataclass(value):
        return type(value), tuple(_all(vars(value).items()))
    raise _UnseenError


def _all(items: Any) -> Iterator[Hashable]:
    return (tuple(map(_contents, item)) if type(item) is tuple else _contents(item) for item in items)
