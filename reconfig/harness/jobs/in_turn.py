"""Jobs one after another in this process: no Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import reconfig
from reconfig.harness.jobs.job import Job
from reconfig.harness.jobs.ray_tasks import Finished, Timing, seconds, work
from reconfig.harness.options import SweepOptions


def in_turn(jobs: Sequence[Job], options: SweepOptions, timing: Timing) -> Iterator[Finished]:
    """Do ``jobs`` here, one after another."""
    timing.tell([_timed(each, options.cpus_per_run) for each in timing.samples], 1)
    for job in jobs:
        yield job, work(job, options.save_every, options.cpus_per_run)


def _timed(job: Job, threads: int) -> float | None:
    try:
        return seconds(job, threads)
    except reconfig.ReconfigError:  # what is wrong, the job itself will say
        return None
