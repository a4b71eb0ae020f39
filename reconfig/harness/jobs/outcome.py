"""What came of a job: the scores of its two checkpoints, in its folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
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
    computed: dict[str, dict[str, str]]
    """Checkpoint -> measure -> in which precision, layout and form it was computed."""
    compiled: dict[str, int] | None
    """What of the training, since it was last resumed, and the measuring after it ran compiled: the counts of
    ``CompileLog``. None where nothing was to be compiled."""

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


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Say that the job in ``folder`` is finished, and what came of it."""
    files.write_json(folder / "outcome.json", asdict(outcome))


def enter(folder: Path, measured: str, values: dict[str, float], computed: dict[str, str]) -> None:
    """Add what was measured later to the outcome, for each checkpoint that stands for the one ``measured``."""
    outcome = read_outcome(folder)
    scores, hows = dict(outcome.scores), dict(outcome.computed)
    for name in scores:
        if outcome.measured(name) == measured:
            scores[name] = scores[name] | values
            hows[name] = hows[name] | {measure: computed[measure] for measure in values}
    write_outcome(folder, replace(outcome, scores=scores, computed=hows))
