"""What came of a job: the scores of its two checkpoints, in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reconfig.harness import files, records
from reconfig.harness.files import CheckpointError

CHECKPOINTS = ("last", "best")
"""After the last epoch; after the epoch with the best accuracy on the selection images."""


@dataclass(frozen=True)
class Outcome:
    """One trained network, measured."""

    name: str
    seed: int
    params: int
    flops: int
    """Multiply-adds for one image."""
    scores: dict[str, dict[str, float]]
    """Checkpoint -> measure -> its value, which for an accuracy is in %."""
    epochs: dict[str, int]
    """Checkpoint -> the epoch it was saved after, counted from 1."""
    seconds: float
    """Time spent training."""

    def measured(self, checkpoint: str) -> str:
        """The checkpoint that was measured in the place of ``checkpoint``: another of the same epoch, or itself."""
        return next(other for other in CHECKPOINTS if self.epochs[other] == self.epochs[checkpoint])


def read_outcome(folder: Path) -> Outcome:
    """The outcome of the finished job in ``folder``.

    Raises:
        CheckpointError: If it is not finished, or its outcome.json is damaged or of another version.
    """
    path = folder / "outcome.json"
    if not path.exists():
        raise CheckpointError(f"{folder} is not finished (it has no outcome.json); end its run with --resume")
    remedy = "Remove it to have the network measured again"
    try:
        return records.read(Outcome, files.read_json(path, remedy))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not of this version ({files.reason(error)}). {remedy}") from error
