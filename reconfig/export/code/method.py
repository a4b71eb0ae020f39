"""One recorded call of a module as the lines of a method."""

from __future__ import annotations

import inspect
import keyword
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, groupby
from typing import Any

from torch import nn

from reconfig.export.code.record import Alias, Call, Guard, Op, Statement
from reconfig.export.code.scopes import Scope, reads
from reconfig.export.code.sizes import Dim, Value
from reconfig.export.code.text import Text, joined
from reconfig.export.code.tree import Tree
from reconfig.export.code.values import call as torch_call, written
from reconfig.trace.leaves import leaves

_LONGEST = 88  # what goes on within another expression
_WIDEST = 300
_POOL = ("x", "y", "z", "u", "v", "w", "a", "b", "c", "d", "e", "g", "h")
_TAKEN = {"self", "torch", "nn", "F", "math", "Tensor"}
_ANOTHER_WAY = 'raise ValueError("inputs of this size go another way through the original network: record it on one")'

Block = tuple[Text, ...]
"""Lines that belong together, as a `with` and what is in it."""


@dataclass(frozen=True)
class Method:
    """A forward.

    Attributes:
        arguments: as in its head, "x" or "*features".
        blocks: its statements.
        gives: how many tensors it returns.
    """

    arguments: tuple[str, ...]
    blocks: tuple[Block, ...]
    gives: int


def method(call: Call, scopes: Mapping[int, Scope], tree: Tree, plain: frozenset[str]) -> Method:
    """The forward that does what ``call`` did.

    Args:
        call: the call.
        scopes: of all calls.
        tree: the network.
        plain: paths of the modules that are called with what they were called with, whatever runs inside.

    Raises:
        ExportError: where something in it has no text.
    """
    return _Writer(call, scopes, tree, plain).written()


class _Writer:
    def __init__(self, call: Call, scopes: Mapping[int, Scope], tree: Tree, plain: frozenset[str]) -> None:
        self._call, self._scopes, self._tree, self._plain = call, scopes, tree, plain
        self._scope = scopes[id(call)]
        self._aliases = {id(s.target): s.source for s in call.body if isinstance(s, Alias)}
        self._statements = [s for s in call.body if not isinstance(s, Alias)]
        self._returned = [self._source(value) for value in self._results()]
        self._names: dict[int, str] = {}
        self._lengths: dict[Dim, str] = {}
        self._whole: tuple[tuple[Value, ...], str] | None = None
        self._pending: dict[int, tuple[Text, list[Value]]] = {}
        self._last: dict[int, int] = {}
        self._times: Counter[int] = Counter()
        read: list[Sequence[Value | Dim]] = [*map(self._reads, self._statements), self._returned]
        for position, items in enumerate(read):
            for item in items:
                value = item.value if isinstance(item, Dim) else item
                self._last[id(value)] = position
                self._times[id(value)] += 1 if isinstance(item, Value) else 2  # a length is not what a call takes

    def written(self) -> Method:
        arguments = self._arguments()
        parts: list[tuple[bool, Block]] = []
        seen: set[Text] = set()
        for position, statement in enumerate(self._statements):
            if isinstance(statement, Guard):
                condition = written(statement.condition, self._written)
                test = "if not (" + condition + "):" if statement.holds else "if " + condition + ":"
                if test not in seen:
                    seen.add(test)
                    parts.append((True, (test, Text("    " + _ANOTHER_WAY))))
                continue
            line = self._line(position, statement)
            if line is not None:
                parts.append((statement.grad, (line,)))
        if self._returned or self._call.path == "":
            parts.append((True, (self._return(),)))
        blocks: list[Block] = []
        for grad, group in groupby(parts, key=_grad_of):
            together = [block for _, block in group]
            if grad:
                blocks += together
            else:
                inside = tuple("    " + line for block in together for line in block)
                blocks.append((Text("with torch.no_grad():"), *inside))
        return Method(arguments, tuple(blocks), len(self._returned))

    # -- what is read and made ----------------------------------------------------------------------------------------

    def _source(self, value: Value) -> Value:
        while id(value) in self._aliases:
            value = self._aliases[id(value)]
        return value

    def _results(self) -> list[Value]:
        if self._call.path == "":
            return list(leaves(self._call.output, Value))
        return list(self._scope.gives)

    def _reads(self, statement: Statement) -> list[Value | Dim]:
        """What a statement reads, as it is written."""
        if isinstance(statement, Call) and statement.path not in self._plain:
            found: Iterator[Value | Dim] = iter(self._scopes[id(statement)].takes)
        else:
            found = reads(statement)
        return [item if isinstance(item, Dim) else self._source(item) for item in found]

    def _makes(self, statement: Statement) -> tuple[Value, ...]:
        if isinstance(statement, Call):
            return self._scopes[id(statement)].gives
        return tuple(leaves(statement.result, Value)) if isinstance(statement, Op) else ()

    # -- lines --------------------------------------------------------------------------------------------------------

    def _line(self, position: int, statement: Statement) -> Text | None:
        """The line of a statement; None where it becomes a part of the next one."""
        expression = self._expression(statement)
        made = self._makes(statement)
        operands = [value for item in self._reads(statement) if isinstance(value := item, Value)]
        for value in list(operands):
            operands += self._pending.pop(id(value), (None, []))[1]
        if (
            len(made) == 1
            and expression.length <= self._longest(position)
            and self._goes_on(position, statement, made[0])
        ):
            self._pending[id(made[0])] = (expression, operands)
            return None
        if not any(id(value) in self._last for value in made):
            return expression
        return self._target(self._pattern(statement, made), position, operands) + " = " + expression

    def _pattern(self, statement: Statement, made: tuple[Value, ...]) -> Any:
        """What a statement gives, as nested as it gives it."""
        if isinstance(statement, Op):
            return statement.result
        if isinstance(statement, Call) and statement.path in self._plain:
            return statement.output
        return made[0] if len(made) == 1 else made

    def _longest(self, position: int) -> int:
        """Characters that may go on within the next expression; behind a `return` as many as there are."""
        return _LONGEST if position + 1 < len(self._statements) else _WIDEST

    def _goes_on(self, position: int, statement: Statement, value: Value) -> bool:
        """Whether the next statement alone reads ``value``, so that it can be written within it."""
        following = self._statements[position + 1 : position + 2]
        if not isinstance(self._pattern(statement, (value,)), Value):
            return False
        if self._times[id(value)] != 1 or self._last[id(value)] != position + 1:
            return False
        if not following:
            return statement.grad
        return not isinstance(following[0], Guard) and following[0].grad == statement.grad

    def _target(self, pattern: Any, position: int, operands: list[Value]) -> str:
        """Names for what a statement makes: those of what nobody reads any more, or new ones."""
        if isinstance(pattern, Value):
            if id(pattern) not in self._last:
                return "_"
            busy = {name for key, name in self._names.items() if self._last.get(key, -1) > position}
            busy |= {self._whole[1]} if self._whole else set(self._lengths.values())
            dying = [self._names[id(value)] for value in operands if id(value) in self._names]
            names = chain(dying, _POOL, map("t{}".format, count(1)))
            name = next(name for name in names if name not in busy and name.isidentifier())
            self._names[id(pattern)] = name
            return name
        if not isinstance(pattern, tuple | list):
            return "_"
        parts = []
        for part in pattern:
            inner = self._target(part, position, operands)
            parts.append(f"({inner})" if isinstance(part, tuple | list) else inner)
        return ", ".join(parts) + ("," if len(parts) == 1 else "")

    def _expression(self, statement: Statement) -> Text:
        if isinstance(statement, Op):
            return torch_call(statement.function, statement.args, statement.kwargs, self._written, self._device())
        assert isinstance(statement, Call)
        module = self._tree.module_from(self._call.path, statement.path)
        if statement.path in self._plain:
            arguments = [written(item, self._written) for item in statement.args]
            arguments += [f"{key}=" + written(item, self._written) for key, item in statement.kwargs.items()]
        else:
            arguments = [written(item, self._written) for item in self._scopes[id(statement)].takes]
        return f"{module}(" + joined(arguments) + ")"

    def _return(self) -> Text:
        if self._call.path == "":
            return "return " + written(self._call.output, self._written)
        return "return " + joined(self._written(value) or "" for value in self._returned)

    # -- names --------------------------------------------------------------------------------------------------------

    def _written(self, item: Value | Dim | tuple[Value, ...]) -> Text | None:
        if isinstance(item, tuple):
            whole = self._whole
            return Text(whole[1]) if whole and list(map(id, item)) == list(map(id, whole[0])) else None
        if isinstance(item, Dim):
            if item in self._lengths:
                return Text(self._lengths[item])
            return (self._written(item.value) or Text()).inside() + f".shape[{item.index}]"
        value = self._source(item)
        if id(value) in self._pending:
            return self._pending[id(value)][0]
        if id(value) in self._names:
            return Text(self._names[id(value)])
        reached = self._tree.tensor_from(self._call.path, value.name)
        assert reached is not None
        return Text(reached)

    def _device(self) -> Text:
        tensors = [value for value in self._scope.takes if isinstance(value, Value)]
        if not tensors or self._whole:
            return Text(f"{self._whole[1]}[0].device" if self._whole else "next(self.parameters()).device")
        return Text(f"{self._first}.device")

    def _arguments(self) -> tuple[str, ...]:
        """The names of the arguments, as the module's own forward calls them."""
        takes = self._scope.takes
        given = _given(self._tree.modules[self._call.path], self._call)
        lists = [(name, item) for name, item in given if any(True for _ in leaves(item, Value))]
        if len(lists) == 1 and isinstance(lists[0][1], tuple | list) and list(lists[0][1]) == list(takes):
            name = _clean(lists[0][0], ())
            self._whole = (tuple(lists[0][1]), name)
            self._names |= {id(value): f"{name}[{index}]" for index, value in enumerate(lists[0][1])}
            return (f"*{name}",)
        hints: dict[int, str] = {}
        for name, item in given:
            for value in leaves(item, Value):
                hints.setdefault(id(value), name)
        arguments: list[str] = []
        for item in takes:
            hint = "size" if isinstance(item, Dim) else hints.get(id(item), "extra")
            arguments.append(_clean(hint, arguments))
            if isinstance(item, Dim):
                self._lengths[item] = arguments[-1]
            else:
                self._names[id(item)] = arguments[-1]
        self._first = next((n for n, item in zip(arguments, takes, strict=True) if isinstance(item, Value)), "")
        return tuple(arguments)


def _grad_of(part: tuple[bool, Block]) -> bool:
    return part[0]


def _given(module: nn.Module, call: Call) -> list[tuple[str, Any]]:
    """The arguments of a call with their names."""
    try:
        bound = inspect.signature(module.forward).bind(*call.args, **call.kwargs)
    except (TypeError, ValueError):
        return [("x", item) for item in (*call.args, *call.kwargs.values())]
    found: list[tuple[str, Any]] = []
    for name, item in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        found += item.items() if kind is inspect.Parameter.VAR_KEYWORD else [(name, item)]
    return found


def _clean(hint: str, taken: tuple[str, ...] | list[str]) -> str:
    """A name like ``hint`` that nothing else has."""
    hint = hint if hint.isidentifier() and not keyword.iskeyword(hint) and hint not in _TAKEN else "x"
    return next(name for name in chain([hint], (f"{hint}_{number}" for number in count(2))) if name not in taken)
