"""What a nested structure of arguments or outputs holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

_Leaf = TypeVar("_Leaf")


def leaves(item: Any, kind: type[_Leaf]) -> Iterator[_Leaf]:
    """The leaves of this kind in nested tuples, lists, dictionaries and slices, in order."""
    if isinstance(item, kind):
        yield item
    elif isinstance(item, dict):
        for part in item.values():
            yield from leaves(part, kind)
    elif isinstance(item, tuple | list):
        for part in item:
            yield from leaves(part, kind)
    elif isinstance(item, slice):
        yield from leaves((item.start, item.stop, item.step), kind)
