"""How long a sweep takes: said before its first job begins, and shown while it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.console import Console

from reconfig.harness.jobs.job import Job
from reconfig.harness.jobs.meter import duration


class Outlook:
    """Knows how long jobs take: by timed batches of the smallest and the largest, until the first has ended.

    The seconds of the others lie between, by their multiply-adds.
    """

    def __init__(self, flops: Mapping[Job, int], console: Console) -> None:
        self.flops, self.console = flops, console
        self.began = time.monotonic()
        self.whole: float | None = None
        self.ended = 0

    @property
    def samples(self) -> list[Job]:
        """The jobs to be timed."""
        ordered = sorted(self.flops, key=lambda job: self.flops[job])
        return ordered[:1] if self.flops[ordered[0]] == self.flops[ordered[-1]] else [ordered[0], ordered[-1]]

    def tell(self, seconds: Sequence[float | None], at_once: int) -> None:
        """The ``samples`` take so long, and so many jobs run ``at_once``; None where one could not be timed."""
        known = {self.flops[job]: each for job, each in zip(self.samples, seconds, strict=True) if each is not None}
        if not known:
            return
        each = [self._share(job) * _between(known, flops) for job, flops in self.flops.items()]
        at_once = max(1, min(at_once, len(each)))
        self.whole, self.began = max(sum(each) / at_once, *each), time.monotonic()
        trainings = f"{len(each)} training{'s' if len(each) > 1 else ''}, {at_once} at a time"
        self.console.print(
            f"takes {duration(self.whole)} or less, by a timed batch: {trainings}", soft_wrap=True, highlight=False
        )

    def left(self) -> str:
        """The time that is left, as the end of a line."""
        elapsed = time.monotonic() - self.began
        if self.ended:
            return f", about {duration(elapsed * (len(self.flops) - self.ended) / self.ended)} left"
        return "" if self.whole is None else f", about {duration(max(0.0, self.whole - elapsed))} left"

    def _share(self, job: Job) -> float:
        """The part of a job that an earlier run did not do."""
        return 1 - len(job.history()) / job.setting.train.epochs


def _between(known: Mapping[int, float], flops: int) -> float:
    """Seconds by multiply-adds, on the line through those that are known."""
    low, high = min(known), max(known)
    return known[low] + (known[high] - known[low]) * (flops - low) / max(1, high - low)
