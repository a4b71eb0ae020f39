"""What each call takes from outside, and gives: the arguments and results of the method that is written for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reconfig.export.code.record import Alias, Call, Op, Statement
from reconfig.export.code.sizes import Dim, Term, Value, dims
from reconfig.export.code.tree import Tree
from reconfig.trace.leaves import leaves


@dataclass(frozen=True)
class Scope:
    """A call seen from outside.

    Attributes:
        takes: tensors that come in, and lengths of tensors that do not.
        gives: tensors that are made inside and go out.
    """

    takes: tuple[Value | Dim, ...]
    gives: tuple[Value, ...]


def inlined(call: Call, paths: set[str], tree: Tree, scope: str = "") -> Call:
    """``call`` with what runs in the modules ``paths``, or in modules out of reach, as if the module above ran it."""
    body: list[Statement] = []
    for statement in call.body:
        if not isinstance(statement, Call):
            body.append(statement)
        elif statement.path in paths or tree.module_from(scope, statement.path) is None:
            body += inlined(statement, paths, tree, scope).body
        else:
            body.append(inlined(statement, paths, tree, statement.path))
    return Call(call.path, call.args, call.kwargs, call.grad, body, call.output)


def scopes(root: Call, tree: Tree) -> dict[int, Scope]:
    """The scope of each call, by its identity."""
    finder = _Finder(tree)
    finder.number(root)
    finder.visit(root)
    return finder.found


class _Finder:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._spans: dict[int, tuple[int, int]] = {}
        self._last: dict[int, tuple[int, int]] = {}  # the first and last position that reads a value
        self._position = 0
        self.found: dict[int, Scope] = {}

    def number(self, call: Call) -> None:
        """Give every statement a position, and note which values it reads."""
        start = self._position
        for statement in call.body:
            if isinstance(statement, Call):
                self.number(statement)
            else:
                for item in reads(statement):
                    self._use(item.value if isinstance(item, Dim) else item)
                self._position += 1
        for value in leaves(call.output, Value):
            self._use(value)
        self._position += 1
        self._spans[id(call)] = (start, self._position)

    def _use(self, value: Value) -> None:
        first, last = self._last.get(id(value), (self._position, self._position))
        self._last[id(value)] = (min(first, self._position), max(last, self._position))

    def visit(self, call: Call) -> dict[int, Value]:
        """Work out the scopes of a call and of those inside; what was made inside."""
        made: dict[int, Value] = {}
        wanted: dict[Value | Dim, None] = dict.fromkeys(leaves((call.args, call.kwargs), Value))
        for statement in call.body:
            if isinstance(statement, Call):
                inside = self.visit(statement)
                wanted.update(dict.fromkeys(self.found[id(statement)].takes))
                made.update(inside)
            else:
                wanted.update(dict.fromkeys(reads(statement)))
                made.update({id(value): value for value in makes(statement)})
        start, stop = self._spans[id(call)]
        returned = [value for value in dict.fromkeys(leaves(call.output, Value)) if id(value) in made]
        leaked = [
            value
            for value in made.values()
            if value not in returned and (ends := self._last.get(id(value))) and not start <= ends[1] < stop
        ]
        self.found[id(call)] = Scope(self._takes(call, wanted, made), (*returned, *leaked))
        return made

    def _takes(self, call: Call, wanted: dict[Value | Dim, None], made: dict[int, Value]) -> tuple[Value | Dim, ...]:
        given = {id(value) for value in leaves((call.args, call.kwargs), Value)}
        tensors = {
            id(item): item
            for item in wanted
            if isinstance(item, Value)
            and id(item) not in made
            and (id(item) in given or not item.name or self._tree.tensor_from(call.path, item.name) is None)
        }
        lengths = [
            item
            for item in wanted
            if isinstance(item, Dim) and id(item.value) not in made and id(item.value) not in tensors
        ]
        return (*tensors.values(), *lengths)


def reads(statement: Statement) -> Iterator[Value | Dim]:
    """The tensors, and the lengths of tensors, that a torch call, an alias or a comparison reads."""
    if isinstance(statement, Op | Call):
        yield from read((statement.args, statement.kwargs))
    elif isinstance(statement, Alias):
        yield statement.source
    else:
        yield from dims(statement.condition)


def makes(statement: Statement) -> tuple[Value, ...]:
    """The tensors that a torch call or an alias makes."""
    if isinstance(statement, Op):
        return tuple(leaves(statement.result, Value))
    return (statement.target,) if isinstance(statement, Alias) else ()


def read(item: Any) -> Iterator[Value | Dim]:
    """The tensors, and the lengths of tensors, in nested arguments, in order."""
    if isinstance(item, Value):
        yield item
    elif isinstance(item, Dim | Term):
        yield from dims(item)
    elif isinstance(item, dict):
        for part in item.values():
            yield from read(part)
    elif isinstance(item, tuple | list):
        for part in item:
            yield from read(part)
    elif isinstance(item, slice):
        yield from read((item.start, item.stop, item.step))
