"""The way out of a number that is written in the code: the line as it stands, and what to write in its place."""

from __future__ import annotations

import ast
import linecache
import math
from collections.abc import Callable
from os.path import basename
from typing import Any

from torch import fx

from reconfig.widths.calls.table import named

_RESHAPES = frozenset(named("view reshape"))
_SPLITS = frozenset(named("split"))

_Rewrite = Callable[[ast.Call], ast.expr | None]


def remedy(node: fx.Node, number: int | None) -> str:
    """How to write this call without the ``number`` in it, as an order; "" where no other form is known."""
    rewrite: _Rewrite | None = None
    if node.target in _RESHAPES and node.all_input_nodes:
        rewrite = _flattened if _flattens(node) else _measured(node, number)
    elif node.target in _SPLITS:
        rewrite = _chunked(node)
    return _order(node, rewrite) if rewrite else ""


def _flattens(node: fx.Node) -> bool:
    """Whether all but the examples become one dimension."""
    before, after = node.all_input_nodes[0].meta["shape"], node.meta["shape"]
    return len(before) > 1 and after == (before[0], math.prod(before[1:]))


def _flattened(call: ast.Call) -> ast.expr | None:
    tensor, _ = _tensor_and_rest(call)
    return ast.parse(f"{ast.unparse(tensor)}.flatten(1)", mode="eval").body


def _measured(node: fx.Node, number: int | None) -> _Rewrite | None:
    """With -1 for the number, and the number of examples read from the tensor where they were the -1."""
    sizes = [item for item in _flat(node.args[1:]) if isinstance(item, int)]
    if number is None or sizes.count(number) != 1 or (-1 in sizes and sizes.index(-1) != 0):
        return None
    position = sizes.index(number)

    def rewrite(call: ast.Call) -> ast.expr | None:
        tensor, rest = _tensor_and_rest(call)
        given = rest[0].elts if len(rest) == 1 and isinstance(rest[0], ast.Tuple | ast.List) else rest
        if len(given) != len(sizes):
            return None
        name = ast.unparse(tensor)
        written = [ast.unparse(item) for item in given]
        if sizes[0] == -1:
            written[0] = f"{name}.shape[0]"
        written[position] = "-1"
        return ast.parse(f"{name}.reshape({', '.join(written)})", mode="eval").body

    return rewrite


def _chunked(node: fx.Node) -> _Rewrite | None:
    """Equal pieces by their number."""
    shapes = node.meta["shape"]
    if not shapes or len(set(shapes)) != 1:
        return None

    def rewrite(call: ast.Call) -> ast.expr | None:
        tensor, rest = _tensor_and_rest(call)
        further = [ast.unparse(item) for item in [*rest[1:], *call.keywords]]
        return ast.parse(f"{ast.unparse(tensor)}.chunk({', '.join([str(len(shapes)), *further])})", mode="eval").body

    return rewrite


def _flat(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(args[0]) if len(args) == 1 and isinstance(args[0], tuple | list) else args


def _tensor_and_rest(call: ast.Call) -> tuple[ast.expr, list[ast.expr]]:
    """The tensor of ``x.view(...)`` or ``torch.reshape(x, ...)``, and what else is given."""
    assert isinstance(call.func, ast.Attribute)
    if isinstance(call.func.value, ast.Name) and call.func.value.id == "torch":
        return call.args[0], call.args[1:]
    return call.func.value, call.args


def _order(node: fx.Node, rewrite: _Rewrite) -> str:
    """The line of code and the line that should stand there; "" where it is not one statement with one such call."""
    file, line = node.meta["source"]
    text = linecache.getline(file, line).strip()
    try:
        statement = ast.parse(text)
    except SyntaxError:
        return ""
    names = {getattr(target, "__name__", "") for target in _RESHAPES | _SPLITS}
    calls = [
        found
        for found in ast.walk(statement)
        if isinstance(found, ast.Call) and isinstance(found.func, ast.Attribute) and found.func.attr in names
    ]
    new = rewrite(calls[0]) if len(calls) == 1 else None
    if new is None:
        return ""
    old = ast.unparse(calls[0])
    return f"write {ast.unparse(new)} in place of {old} in {basename(file)}:{line}"
