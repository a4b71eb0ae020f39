"""Text with marked values in it: what differs between two pieces of code that are otherwise alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

_MARK = "\0"


@dataclass(frozen=True)
class Hole:
    """A value in a text.

    Attributes:
        text: how it is written.
        hint: words for it, the most general last, as ("conv1", "stride").
    """

    text: str
    hint: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """A piece of code.

    Attributes:
        frame: its text, with a mark for every hole.
        holes: the values, in order.
        atom: whether an attribute or an operator can follow without parentheses.
    """

    frame: str = ""
    holes: tuple[Hole, ...] = ()
    atom: bool = True

    def __add__(self, other: Text | str) -> Text:
        more = other if isinstance(other, Text) else Text(other)
        return Text(self.frame + more.frame, self.holes + more.holes)

    def __radd__(self, other: str) -> Text:
        return Text(other) + self

    def filled(self, write: Callable[[int, Hole], str] = lambda _, hole: hole.text) -> str:
        """The text as it stands, each hole written by ``write(its index, hole)``."""
        parts = self.frame.split(_MARK)
        values = [write(index, hole) for index, hole in enumerate(self.holes)]
        return parts[0] + "".join(value + part for value, part in zip(values, parts[1:], strict=True))

    def hinted(self, word: str) -> Text:
        """The same, each hole a part of ``word``."""
        return Text(self.frame, tuple(Hole(hole.text, (word, *hole.hint)) for hole in self.holes), self.atom)

    def inside(self) -> Text:
        """The same, to be followed by an attribute or an operator."""
        return self if self.atom else "(" + self + ")"

    @property
    def length(self) -> int:
        """Characters, whatever the values are: the same for texts of one frame."""
        return len(self.frame) + 2 * len(self.holes)


def hole(text: str, *hint: str) -> Text:
    """A value alone."""
    return Text(_MARK, (Hole(text, hint),))


def joined(parts: Iterable[Text | str], between: str = ", ") -> Text:
    """Parts with ``between`` between them."""
    result: Text | None = None
    for part in parts:
        piece = part if isinstance(part, Text) else Text(part)
        result = piece if result is None else result + between + piece
    return Text() if result is None else Text(result.frame, result.holes)


def same_frame(texts: Iterable[Text]) -> Iterator[tuple[Hole, ...]]:
    """The holes of texts of one frame, a column of alternatives each."""
    return zip(*(text.holes for text in texts), strict=True)
