"""How a family of calls is written down: each handler with the torch calls that it is for."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Handler = Callable[..., Any]
Table = dict[Any, Handler]


def named(names: str) -> list[Any]:
    """The calls of these names, as functions, as functionals and as tensor methods, wherever torch has them."""
    owners = (torch, F, Tensor, operator)
    found = [getattr(owner, name, None) for owner in owners for name in names.split()]
    return list(dict.fromkeys(call for call in found if callable(call)))


def table(*rows: tuple[Handler, Iterable[Any]]) -> Table:
    """(handler, its calls), ... as a table by call.

    Raises:
        ValueError: where a call stands in two rows.
    """
    return joined(*(dict.fromkeys(calls, handler) for handler, calls in rows))


def joined(*tables: Table) -> Table:
    """One table of several, which have no call in common."""
    result: Table = {}
    for each in tables:
        for call, handler in each.items():
            if call in result:
                raise ValueError(f"{call} is handled by {result[call].__name__} and by {handler.__name__}")
            result[call] = handler
    return result
