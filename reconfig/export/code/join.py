"""Two recordings on inputs of other sizes as one: each number is a literal, or what it is in terms of sizes.

A number that does not follow the input's size is the same in both. One that does is written as the code wrote it; where
the code forgot how it came about (``len(x)``, ``int(x.shape[0])``), it is the length of that tensor at hand which is as
long in both recordings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from reconfig.errors import ExportError
from reconfig.export.code.record import Alias, Call, Guard, Op, Recording, Statement
from reconfig.export.code.sizes import Dim, Expression, Ratio, Size, Term, Value, dims, evaluate
from reconfig.trace.leaves import leaves

Shape = tuple[int, ...]
Free = Callable[[Dim], bool]
"""Whether a dimension follows the input's size."""


class SizesError(ExportError):
    """A forward goes another way for another size, or keeps a number that only fits one."""


def join(first: Recording, second: Recording) -> Recording:
    """``first`` with its numbers as literals or expressions; joined with itself, as literals alone.

    Raises:
        SizesError: where the two do not agree on a number or on the way.
    """
    if len(first.values) != len(second.values):
        raise SizesError("it makes other calls for inputs of another size")
    twins = {id(value): twin for value, twin in zip(first.values, second.values, strict=True)}

    def free(dim: Dim) -> bool:
        return dim.value.shape[dim.index] != twins[id(dim.value)].shape[dim.index]

    joiner = _Joiner(twins, free)
    root = joiner.call(first.root, second.root)
    return Recording(root, first.values, first.inputs)


class _Joiner:
    def __init__(self, twins: dict[int, Value], free: Free) -> None:
        self._twins = twins
        self._free = free
        self._at_hand: list[Value] = []  # the latest last

    def call(self, ours: Call, theirs: Call) -> Call:
        self._at_hand += leaves((ours.args, ours.kwargs), Value)
        args, kwargs = self._item((ours.args, ours.kwargs), (theirs.args, theirs.kwargs))
        start = len(self._at_hand)
        if (ours.path, len(ours.body)) != (theirs.path, len(theirs.body)):
            raise SizesError(f"module {ours.path!r} makes other calls for inputs of another size")
        body = [joined for pair in zip(ours.body, theirs.body, strict=True) for joined in self._statement(*pair)]
        output = self._item(ours.output, theirs.output)
        del self._at_hand[start:]
        self._at_hand += leaves(output, Value)
        return Call(ours.path, args, kwargs, ours.grad, body, output)

    def _statement(self, ours: Statement, theirs: Statement) -> Iterator[Statement]:
        if type(ours) is not type(theirs):
            raise SizesError("it makes other calls for inputs of another size")
        if isinstance(ours, Call) and isinstance(theirs, Call):
            yield self.call(ours, theirs)
        elif isinstance(ours, Guard) and isinstance(theirs, Guard):
            condition = self._expression(ours.condition)
            if isinstance(condition, Term):
                if ours.holds != theirs.holds:
                    raise SizesError("it decides by the size of its input")
                yield Guard(condition, ours.holds, ours.grad)
        elif isinstance(ours, Op) and isinstance(theirs, Op):
            if ours.function is not theirs.function:
                raise SizesError("it makes other calls for inputs of another size")
            self._at_hand += leaves((ours.args, ours.kwargs), Value)
            args, kwargs = self._item((ours.args, ours.kwargs), (theirs.args, theirs.kwargs))
            yield Op(ours.function, args, kwargs, ours.result, ours.grad)
            self._at_hand += leaves(ours.result, Value)
        else:
            assert isinstance(ours, Alias)
            yield ours
            self._at_hand.append(ours.target)

    def _item(self, ours: Any, theirs: Any) -> Any:
        if isinstance(ours, Value):
            if self._twins[id(ours)] is not theirs:
                raise SizesError("its tensors go other ways for inputs of another size")
            return ours
        if isinstance(ours, dict):
            if not isinstance(theirs, dict) or ours.keys() != theirs.keys():
                raise SizesError("it passes other arguments for inputs of another size")
            return {key: self._item(part, theirs[key]) for key, part in ours.items()}
        if isinstance(ours, tuple | list):
            if not isinstance(theirs, tuple | list) or len(ours) != len(theirs):
                raise SizesError("it passes other arguments for inputs of another size")
            parts = [self._item(part, twin) for part, twin in zip(ours, theirs, strict=True)]
            return parts if isinstance(ours, list) else tuple(parts)
        if isinstance(ours, slice):
            both = zip((ours.start, ours.stop, ours.step), (theirs.start, theirs.stop, theirs.step), strict=True)
            return slice(*(self._item(part, twin) for part, twin in both))
        if isinstance(ours, int | float) and not isinstance(ours, bool) and isinstance(theirs, int | float):
            return self._number(ours, theirs)
        return ours

    def _number(self, ours: Any, theirs: Any) -> Any:
        if isinstance(ours, Size | Ratio):
            told = self._expression(ours.expression)
            if isinstance(told, Dim | Term):
                return told
        plain, other = (float(number) if isinstance(number, float) else int(number) for number in (ours, theirs))
        if plain == other or plain != plain:
            return plain
        for value in reversed(self._at_hand):
            for index, length in enumerate(value.shape):
                if (length, self._twins[id(value)].shape[index]) == (plain, other):
                    return Dim(value, index)
        raise SizesError(f"it keeps the number {plain}, which is {other} for inputs of another size")

    def _expression(self, told: Expression | Any) -> Any:
        """The same with what does not follow the input's size as numbers."""
        if isinstance(told, Dim):
            return told if self._free(told) else told.value.shape[told.index]
        if isinstance(told, Term):
            if not any(map(self._free, dims(told))):
                return evaluate(told, lambda value: value.shape)
            return Term(told.operator, tuple(self._expression(operand) for operand in told.operands))
        return told
