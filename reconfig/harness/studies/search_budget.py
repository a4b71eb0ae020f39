"""What fits into the minutes of a search."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reconfig import ReconfigError
from reconfig.harness.jobs.forecast import Times
from reconfig.harness.jobs.meter import duration
from reconfig.harness.jobs.tuning import ETA
from reconfig.harness.search import Search

OVERHEAD = 90.0
"""Seconds in which nothing is trained: rules are planned, Ray starts twice, its processes import torch."""
MARGIN = 1.5
"""How much longer than timed batches say work takes, with augmentation, checkpoints and neighbours on the machine."""
_TRIALS = 6
"""How many trials that go to their end an arm has room for, at least, before trials become longer."""
_LEAST = 4
"""The same, below which there is nothing to choose from."""


class SearchError(ReconfigError):
    """A search that cannot begin, or of which something failed."""


@dataclass(frozen=True)
class SearchBudget:
    """What is done; an arm is the search or its baseline, random search, and both have the same."""

    workers: int
    """Trainings that run at once."""
    trial_epochs: int
    """Of a trial that goes to its end."""
    epochs: int
    """Of all trials of an arm."""
    seconds: float
    """By the clock, of an arm."""
    finalists: int
    """Networks that are trained in full, at most."""
    finals: float
    """Seconds that takes."""

    @property
    def total(self) -> float:
        """Seconds that all of it takes."""
        return OVERHEAD + 2 * self.seconds + self.finals

    def __str__(self) -> str:
        return (
            f"about {duration(self.total)}: twice {self.epochs} epochs of trials of at most {self.trial_epochs}, for"
            f" the search and for random search, in {duration(self.seconds)} each, then up to"
            f" {self.finalists} networks in full in {duration(self.finals)}; {self.workers} at once"
        )


def plan_budget(search: Search, times: Times, dearer: float, workers: int) -> SearchBudget:
    """What fits into ``search.minutes``.

    Args:
        search: what is wanted.
        times: of the original network.
        dearer: how many times as long a network takes that is tried, on average.
        workers: trainings that run at once.

    Raises:
        SearchError: If the training in full and a few trials do not fit; the message says what would.
    """
    epoch = MARGIN * dearer * times.epoch
    finalists = search.best + 4  # the original, 10-10-4, random search's best and the count's choice
    full = search.train.epochs * epoch + MARGIN * dearer * times.measuring
    finals = math.ceil(finalists * search.seeds / workers) * full
    seconds = (60 * search.minutes - OVERHEAD - finals) / 2
    fits = int(seconds * workers / epoch)
    lengths = [ETA**power for power in range(1, 10) if ETA**power <= search.train.epochs] or [search.train.epochs]
    trial_epochs = search.trial_epochs or max(
        (length for length in lengths if _TRIALS * length <= fits), default=lengths[0]
    )
    if fits < _LEAST * trial_epochs:
        least = OVERHEAD + finals + 2 * _LEAST * trial_epochs * epoch / workers
        raise SearchError(
            f"minutes is {search.minutes:g}, and the training in full of up to {finalists} networks takes"
            f" {duration(finals)} ({search.seeds} seed{'s' * (search.seeds != 1)}, {search.train.epochs} epochs of"
            f" {epoch:.1f} s); with the fewest trials that make a search it is {math.ceil(least / 60)} minutes. Give"
            f" --minutes {math.ceil(least / 60)}, or fewer --train.epochs, or a smaller --data.train-limit"
        )
    return SearchBudget(workers, trial_epochs, fits, seconds, finalists, finals)
