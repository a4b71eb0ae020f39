"""What a person sees of a sweep: a line for each job that ends; a live table, or in a log a line a minute."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.table import Table

from reconfig.harness.jobs import note
from reconfig.harness.jobs.job import Job
from reconfig.harness.jobs.ray_tasks import Finished
from reconfig.harness.studies.outlook import Outlook
from reconfig.harness.sweep import Sweep

_PLAIN_SECONDS = 60.0
"""Between two lines of a log."""
_SHOWN = 24
"""Rows of the live table: what a small terminal holds."""


class Phase(Enum):
    """What a job is doing."""

    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()
    FAILED = auto()


class Standing(NamedTuple):
    """Where a job stands."""

    phase: Phase
    text: str
    """The same for people."""
    robust: float = 0.0
    """Its best PGD-20 accuracy in % so far: on selection images until it has been measured."""


def watch(
    waiting: Sequence[Job],
    everything: Sequence[Job],
    sweep: Sweep,
    console: Console,
    ended: Iterator[Finished],
    outlook: Outlook,
) -> dict[Job, str]:
    """Show the sweep until its last job has ended; those that failed, with the reason."""
    failed: dict[Job, str] = {}
    done = len(everything) - len(waiting)
    with (
        Live(
            get_renderable=lambda: board(everything, failed, sweep, outlook.left()),
            console=console,
            refresh_per_second=1,
            transient=True,
            auto_refresh=console.is_terminal,
        ),
        _every_minute(lambda: _say_running(waiting, failed, sweep, console, outlook.left()), console),
    ):
        for each, error in ended:
            done += 1
            outlook.ended += 1
            if error is not None:
                failed[each] = error
            console.print(
                f"{done}/{len(everything)}  {each.name}  {standing(each, failed, sweep).text}", soft_wrap=True
            )
    return failed


@contextmanager
def _every_minute(say: Callable[[], None], console: Console) -> Iterator[None]:
    """Within, ``say`` is called once a minute, unless a terminal shows all of it live."""
    if console.is_terminal:
        yield
        return
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(_PLAIN_SECONDS):
            say()

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _say_running(waiting: Sequence[Job], failed: Mapping[Job, str], sweep: Sweep, console: Console, left: str) -> None:
    """A line of a log: what runs, and how far it has come."""
    rows = [(job, standing(job, failed, sweep)) for job in waiting]
    running = [f"{job.name}: {where.text}" for job, where in rows if where.phase is Phase.RUNNING]
    if running:
        console.print("; ".join(running) + left, soft_wrap=True, highlight=False)


def board(everything: Sequence[Job], failed: Mapping[Job, str], sweep: Sweep, left: str = "") -> Table:
    """What is running, and then the most robust of what has ended, as far as a screen holds."""
    rows = [(job, standing(job, failed, sweep)) for job in everything]
    begun = [(job, where) for job, where in rows if where.phase is not Phase.WAITING]
    begun.sort(key=lambda row: (row[1].phase is not Phase.RUNNING, -row[1].robust))
    finished = sum(where.phase is Phase.FINISHED for _, where in rows)
    table = Table(title=f"{sweep.title}: {finished} of {len(rows)} finished, {len(failed)} failed{left}")
    table.add_column("network")
    table.add_column("state")
    table.add_column("best PGD-20 (%)", justify="right")
    for job, where in begun[:_SHOWN]:
        table.add_row(job.name, where.text, f"{where.robust:.2f}")
    return table


def standing(job: Job, failed: Mapping[Job, str], sweep: Sweep) -> Standing:
    """Where a job stands, by what it left in its folder."""
    if job in failed:
        return Standing(Phase.FAILED, f"failed: {failed[job]}")
    outcome = job.outcome()
    if outcome is not None:
        robust = outcome.scores["best"]["pgd20"]
        return Standing(Phase.FINISHED, f"finished, PGD-20 {robust:.2f} %, trained in {outcome.seconds:,.0f} s", robust)
    epochs = job.history()
    if not epochs and not (job.folder / "plan.json").exists():
        return Standing(Phase.WAITING, "waiting")
    best = max((epoch["pgd20"] for epoch in epochs), default=0.0)
    return Standing(Phase.RUNNING, note.read(job.folder) or f"epoch {len(epochs)}/{sweep.train.epochs}", best)
