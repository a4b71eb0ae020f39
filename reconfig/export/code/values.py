"""Values and calls as Python text."""

from __future__ import annotations

import inspect
import keyword
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.overrides import resolve_name

from reconfig.errors import ExportError
from reconfig.export.code.sizes import Dim, Term, Value
from reconfig.export.code.text import Text, hole, joined

Names = Callable[[Value | Dim | tuple[Value, ...]], Text | None]
"""How tensors, lengths of tensors, and whole lists of tensors are written where they are used; None where unknown."""

_OPERATORS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "true_divide": "/", "matmul": "@", "truediv": "/", "floordiv": "//",
    "mod": "%", "pow": "**", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
    "__pow__": "**", "__floordiv__": "//", "__and__": "&", "__or__": "|", "__eq__": "==",
}  # fmt: skip
_OF_TENSORS = ("add", "sub", "mul", "div", "matmul", "__pow__", "__floordiv__", "__and__", "__or__")
_REFLECTED = {"__rsub__": "-", "__rtruediv__": "/", "__rpow__": "**", "__rfloordiv__": "//"}
_COMPARED = (bool, int, float, str, type(None))
_SHORT = {"torch.nn.functional.": "F.", "torch.functional.": "torch."}
_PLACES = ("torch", "torch.nn.functional", "torch._VF", "torch._C._nn", "torch.special", "torch.linalg", "torch.fft")


def written(item: Any, names: Names) -> Text:
    """An argument as text.

    Raises:
        ExportError: where it is of a kind that Python has no text for.
    """
    if isinstance(item, Value | Dim):
        known = names(item)
        assert known is not None
        return known
    if isinstance(item, Term):
        return _term(item, names)
    if isinstance(item, tuple | list) and item and all(isinstance(part, Value) for part in item):
        known = names(tuple(item))
        if known is not None:
            return known
    if isinstance(item, tuple):
        return "(" + joined(written(part, names) for part in item) + (",)" if len(item) == 1 else ")")
    if isinstance(item, list):
        return "[" + joined(written(part, names) for part in item) + "]"
    if isinstance(item, dict):
        return "{" + joined(repr(key) + ": " + written(part, names) for key, part in item.items()) + "}"
    if isinstance(item, slice):
        return "slice(" + joined(written(part, names) for part in (item.start, item.stop, item.step)) + ")"
    return literal(item)


def literal(item: object) -> Text:
    """A constant as text.

    Raises:
        ExportError: where it is of a kind that Python has no text for.
    """
    if isinstance(item, bool) or (isinstance(item, int) and type(item) is int):
        return hole(repr(item))
    if isinstance(item, float):
        return hole(repr(float(item)) if math.isfinite(item) else f'float("{float(item)!r}")')
    if item is None or isinstance(item, str):
        return Text(repr(item))
    if item is ...:
        return Text("...")
    if isinstance(item, torch.dtype | torch.memory_format | torch.layout):
        return Text(str(item))
    if isinstance(item, complex):
        return hole(repr(item))
    if isinstance(item, tuple | list | dict):
        return written(item, lambda _: None)
    raise ExportError(f"a call takes {item!r}, which has no text in a file ({type(item).__name__})")


def call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], names: Names, device: Text) -> Text:
    """A torch call as an expression; ``device`` stands for devices among its arguments.

    Raises:
        ExportError: where the function is not torch's own, or an argument has no text.
    """
    name = name_of(function)
    kind, _, method = name.rpartition("torch.Tensor.")
    own: Text | None = None if kind == name or not name.startswith("torch.Tensor.") else written(args[0], names)

    def argument(item: Any) -> Text:
        if isinstance(item, torch.device):
            return device
        return written(item, names)

    kwargs = {key: value for key, value in kwargs.items() if not _by_default(function, key, value)}
    rest = args if own is None else args[1:]
    options = [f"{key}=" + argument(value).hinted(key) for key, value in kwargs.items()]
    if own is None:
        return name + "(" + joined([*map(argument, rest), *options]) + ")"
    if method.endswith(".__get__"):
        return own.inside() + "." + method.removesuffix(".__get__")
    if method == "__getitem__":
        return own.inside() + "[" + _index(rest[0], names) + "]"
    if method == "__setitem__":
        return own.inside() + "[" + _index(rest[0], names) + "] = " + argument(rest[1])
    if method in _OF_TENSORS and len(rest) == 1 and not kwargs:
        return _loose(own.inside() + f" {_OPERATORS[method]} " + argument(rest[0]).inside())
    if method in _REFLECTED and len(rest) == 1:
        return _loose(argument(rest[0]).inside() + f" {_REFLECTED[method]} " + own.inside())
    if method == "neg" and not rest:
        return _loose("-" + own.inside())
    return own.inside() + f".{method}(" + joined([*map(argument, rest), *options]) + ")"


def _by_default(function: Any, key: str, value: Any) -> bool:
    """Whether an argument is what the function takes where it is left out."""
    if key == "training":  # the modes are written alike, to be merged
        return False
    default = _defaults(function).get(key, _defaults)
    return type(value) is type(default) and isinstance(value, _COMPARED) and value == default


@cache
def _defaults(function: Any) -> dict[str, Any]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # functions of C++ do not say
        return {}
    return {parameter.name: parameter.default for parameter in parameters}


@cache
def name_of(function: Any) -> str:
    """What a file that imports torch and ``torch.nn.functional as F`` calls a function.

    Raises:
        ExportError: where it has no name there.
    """
    name: Any = resolve_name(function)
    if name is None:
        simple = getattr(function, "__name__", "")
        name = next((f"{place}.{simple}" for place in _PLACES if _found(f"{place}.{simple}") is function), None)
    if name is None or not (name.startswith("torch.Tensor.") or _found(name) is function):
        raise ExportError(f"a call of {function!r}, which is no function of torch, cannot be written into a file")
    for long, short in _SHORT.items():
        if name.startswith(long):
            return short + name.removeprefix(long)
    return name


def _found(name: str) -> Any:
    found: Any = torch
    for part in name.split(".")[1:]:
        found = getattr(found, part, None)
    return found


def attribute(name: str) -> str:
    """An access to a member: ".name", or "[3]" within a container."""
    return f".{name}" if name.isidentifier() and not keyword.iskeyword(name) else f"[{name}]"


def _loose(text: Text) -> Text:
    return Text(text.frame, text.holes, atom=False)


def _term(term: Term, names: Names) -> Text:
    if term.operator == "neg":
        return _loose("-" + written(term.operands[0], names).inside())
    if term.operator in ("ceil", "floor"):
        return f"math.{term.operator}(" + written(term.operands[0], names) + ")"
    if term.operator == "and":
        return _loose(joined((written(operand, names) for operand in term.operands), " and "))
    left, right = (written(operand, names).inside() for operand in term.operands)
    return _loose(left + f" {_OPERATORS[term.operator]} " + right)


def _index(item: Any, names: Names) -> Text:
    if isinstance(item, tuple) and item:
        return joined(_index(part, names) for part in item) + ("," if len(item) == 1 else "")
    if isinstance(item, slice):
        start, stop, step = (
            Text() if part is None else written(part, names) for part in (item.start, item.stop, item.step)
        )
        return start + ":" + stop + ("" if item.step is None else ":" + step)
    return written(item, names)
