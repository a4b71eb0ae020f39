"""What trials of a search are given and say. No torch here: the processes that trials run in begin with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Parameters = Mapping[str, float]
"""Of a rule: w2 is the width of the second stage to that of the first, each over its own; d1 the first one's blocks."""
Kind = Literal["search", "random"]
"""How trials are chosen."""


@dataclass(frozen=True)
class Report:
    """What a trial says after an epoch."""

    robust: float
    """Robust accuracy in % on images held out."""
    epoch: int
    """Counted from 1."""
    seconds: float = 0.0
    """What the epoch took; 0 where it was done before."""
    error: str = ""
    """What kept the network from being trained, if anything did."""


Objective = Callable[[Parameters], Iterator[Report]]
"""Does a trial in a process of its own: yields after each epoch, and is closed where it is stopped."""


@dataclass(frozen=True)
class Known:
    """A trial of an earlier part of the search."""

    parameters: Parameters
    robust: tuple[float, ...]
    """After each epoch."""
    ended: bool


@dataclass(frozen=True)
class Limits:
    """When no more is trained."""

    trial_epochs: int
    """Of one trial."""
    epochs: int
    """Of all trials together, those known before among them."""
    seconds: float
    """By the clock, from here on."""


class Listener(Protocol):
    """Hears of trials."""

    def reported(self, parameters: Parameters, report: Report) -> None:
        """An epoch of a trial ended."""

    def ended(self, parameters: Parameters) -> None:
        """A trial came to its end or was stopped."""

    def tick(self) -> None:
        """Time went on; about once a second."""
