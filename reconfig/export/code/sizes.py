"""Sizes that remember how they came about: ints and floats whose arithmetic is written down.

While a forward is recorded, ``x.shape[2] // 2`` is the number that it would be otherwise, and knows that it is half of
a dimension of that tensor. What Python's own functions make a plain number of (``len``, ``int``) forgets it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class Value:
    """A tensor of a recorded forward.

    Attributes:
        number: 0 for the first of the forward.
        shape: its shape in that run.
        name: of a parameter or buffer, or of an attribute that is a tensor; "" for what a call made.
    """

    number: int
    shape: tuple[int, ...]
    name: str = ""


@dataclass(frozen=True)
class Dim:
    """The length of one dimension of a tensor."""

    value: Value
    index: int


@dataclass(frozen=True)
class Term:
    """An operator, by Python's name for it without underscores, and what it is applied to."""

    operator: str
    operands: tuple[Any, ...]


Expression = Dim | Term
Watch = Callable[[Term, bool], None]
"""Told of each comparison of sizes, and how it came out."""


class Size(int):
    """A whole number with the expression that gave it."""

    expression: Expression
    watch: Watch


class Ratio(float):
    """The same for other numbers."""

    expression: Expression
    watch: Watch


def size(number: int, expression: Expression, watch: Watch) -> Size:
    """``number`` as what ``expression`` gave."""
    made = Size(number)
    made.expression, made.watch = expression, watch
    return made


def dims(expression: object) -> Iterator[Dim]:
    """The dimensions that an expression (or a plain number) is made of."""
    if isinstance(expression, Dim):
        yield expression
    elif isinstance(expression, Term):
        for operand in expression.operands:
            yield from dims(operand)


def evaluate(expression: object, shapes: Callable[[Value], tuple[int, ...]]) -> Any:
    """What an expression comes to where tensors have these shapes."""
    if isinstance(expression, Dim):
        return shapes(expression.value)[expression.index]
    if isinstance(expression, Term):
        operands = [evaluate(operand, shapes) for operand in expression.operands]
        return _FUNCTIONS[expression.operator](*operands)
    return expression


def _plain(number: Any) -> Any:
    return int.__int__(number) if isinstance(number, Size) else float(number) if isinstance(number, Ratio) else number


def _told(number: Any) -> Any:
    return number.expression if isinstance(number, Size | Ratio) else number


def _remembered(number: Any, term: Term, watch: Watch) -> Any:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return number
    if isinstance(number, int):
        return size(number, term, watch)
    made = Ratio(number)
    made.expression, made.watch = term, watch
    return made


def _arithmetic(name: str, function: Callable[..., Any], reflected: bool = False) -> Callable[..., Any]:
    def method(self: Any, *others: Any) -> Any:
        operands = (*others, self) if reflected else (self, *others)
        if not all(isinstance(operand, int | float) for operand in operands):
            return NotImplemented
        number = function(*map(_plain, operands))
        return _remembered(number, Term(name, tuple(map(_told, operands))), self.watch)

    return method


def _comparison(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, int | float):
            return NotImplemented
        result = function(_plain(self), _plain(other))
        self.watch(Term(name, (_told(self), _told(other))), result)
        return result

    return method


def _truth(self: Any) -> bool:
    result = bool(_plain(self))
    self.watch(Term("ne", (_told(self), 0)), result)
    return result


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
_UNARY: dict[str, Callable[..., Any]] = {
    "neg": operator.neg,
    "ceil": lambda number: number.__ceil__(),
    "floor": lambda number: number.__floor__(),
}
_COMPARED = ("lt", "le", "gt", "ge", "eq", "ne")
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in (*_BINARY, *_COMPARED)},
    **_UNARY,
}

for _kind, _base in ((Size, int), (Ratio, float)):
    for _name in _BINARY:
        setattr(_kind, f"__{_name}__", _arithmetic(_name, _FUNCTIONS[_name]))
        setattr(_kind, f"__r{_name}__", _arithmetic(_name, _FUNCTIONS[_name], reflected=True))
    for _name, _function in _UNARY.items():
        setattr(_kind, f"__{_name}__", _arithmetic(_name, _function))
    for _name in _COMPARED:
        setattr(_kind, f"__{_name}__", _comparison(_name, _FUNCTIONS[_name]))
    setattr(_kind, "__bool__", _truth)  # noqa: B010
    setattr(_kind, "__hash__", _base.__hash__)  # noqa: B010
