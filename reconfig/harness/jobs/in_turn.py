"""Jobs one after another in this process: no Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconfig.harness.jobs.job import Job
from reconfig.harness.jobs.ray_tasks import Finished, work
from reconfig.harness.options import SweepOptions


def in_turn(jobs: Sequence[Job], options: SweepOptions) -> Iterator[Finished]:
    """Do ``jobs`` here, one after another."""
    for job in jobs:
        yield job, work(job, options.save_every, options.cpus_per_run)
