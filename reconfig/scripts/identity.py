"""Notes about objects that keep nothing alive and refer to nothing."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

_Note = TypeVar("_Note")


class ByIdentity(Generic[_Note]):
    """What is noted about an object, as long as the object lives.

    Objects are known by their identity numbers alone: modules need not be hashable, and what holds the notes leads to
    no network (a copy of a network is refused where something of the original is reached from it).
    """

    def __init__(self) -> None:
        self._notes: dict[int, _Note] = {}

    def __setitem__(self, item: object, note: _Note) -> None:
        if id(item) not in self._notes:
            weakref.finalize(item, self._notes.pop, id(item), None).atexit = False
        self._notes[id(item)] = note

    def get(self, item: object) -> _Note | None:
        """The note about ``item``, or None."""
        return self._notes.get(id(item))

    def __contains__(self, item: object) -> bool:
        return id(item) in self._notes
