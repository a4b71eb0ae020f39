"""How to run an experiment, as opposed to what it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Where and how to run; nothing here changes the result."""

    out: Path
    """Folder for everything the run writes."""
    resume: bool = False
    """Go on with what an earlier run of the same command left in --out."""
    save_every: float = 120.0
    """Seconds between checkpoints within an epoch; the end of an epoch is always saved."""
    tracker: str | None = None
    """A tracker of accelerate's to log to as well, such as tensorboard, wandb or mlflow."""
