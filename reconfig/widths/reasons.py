"""Why a width keeps its size: a kind for programs, a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FrozenKind(StrEnum):
    """The kinds of reasons for which a width keeps its size."""

    TIED = "tied"
    """It is shared with an earlier stage, which has another ratio."""
    LITERAL = "literal"
    """Its length is written in the code as a number, or computed from one."""
    CALL = "call"
    """A call of the forward uses it in a way that no other width would allow (an index, an uneven cut)."""
    UNKNOWN_CALL = "unknown call"
    """A call of the forward that reconfig knows nothing about takes it."""
    DIVISOR = "divisor"
    """There is no smaller multiple of what it has to be a multiple of (groups, coordinates of boxes)."""
    CONSTANT = "constant"
    """It meets a tensor that is neither parameter nor buffer."""
    INPUT = "input"
    """The model's input has it."""
    OUTPUT = "output"
    """The model's output has it."""
    HEAD = "head"
    """A classifier makes it, or the last layer of a network that returns images."""


@dataclass(frozen=True)
class Reason:
    """Why a width keeps its size.

    Attributes:
        kind: for programs.
        text: for people.
        remedy: what a user can do so that it may scale, as an order ("write ..."); "" where nothing is known.
    """

    kind: FrozenKind
    text: str
    remedy: str = ""


INPUT = Reason(FrozenKind.INPUT, "the model's input")
OUTPUT = Reason(FrozenKind.OUTPUT, "the model's output")
RETURNED_MAP = Reason(FrozenKind.OUTPUT, "a feature map that the model returns", "pass outputs='scale' to scale it")
HEAD = Reason(FrozenKind.HEAD, "the head")
