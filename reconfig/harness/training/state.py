"""How far a training has come, and who watches it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor


class Watcher(Protocol):
    """Watches a training: shows its progress, for instance."""

    def say(self, line: str) -> None:
        """Something was decided before the first step."""

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """``step`` of ``steps`` steps of ``epoch`` (from 0) are done, with this mean loss, on the device."""

    def epoch(self, row: dict[str, Any], steps: int) -> None:
        """An epoch of ``steps`` steps ended with these metrics."""


@dataclass
class State:
    """Where training stands, beside the weights and the momentum."""

    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Steps finished of the epoch under way."""
    loss: float = 0.0
    """Sum of the losses of these steps."""
    correct: int = 0
    """Adversarial training images classified correctly in these steps."""
    seconds: float = 0.0
    """Time spent training, over all resumptions."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """The metrics of each epoch."""
    best: dict[str, Any] | None = None
    """The row of the history with the best selection accuracy; the earliest of equals."""
