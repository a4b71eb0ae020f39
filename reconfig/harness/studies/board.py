"""What a person sees of a sweep: a line for each job that ends, and on a terminal a live table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from reconfig.harness.jobs.job import Job
from reconfig.harness.jobs.ray_tasks import Finished
from reconfig.harness.sweep import Sweep

_SHOWN = 24
"""Rows of the live table: what a small terminal holds."""


def watch(
    waiting: Sequence[Job], everything: Sequence[Job], sweep: Sweep, console: Console, ended: Iterator[Finished]
) -> dict[Job, str]:
    """Show the sweep until its last job has ended; those that failed, with the reason."""
    failed: dict[Job, str] = {}
    done = len(everything) - len(waiting)
    with Live(
        get_renderable=lambda: board(everything, failed, sweep),
        console=console,
        refresh_per_second=1,
        transient=True,
        auto_refresh=console.is_terminal,
    ):
        for each, error in ended:
            done += 1
            if error is not None:
                failed[each] = error
            console.print(f"{done}/{len(everything)}  {each.name}  {_state(each, failed, sweep)[0]}", soft_wrap=True)
    return failed


def board(everything: Sequence[Job], failed: Mapping[Job, str], sweep: Sweep) -> Table:
    """What is running, and then the most robust of what is finished, as far as a screen holds."""
    rows = [(each, *_state(each, failed, sweep)) for each in everything]
    begun = [row for row in rows if row[2] is not None]
    begun.sort(key=lambda row: (row[1].startswith(("finished", "failed")), -(row[2] or 0)))
    finished = sum(row[1].startswith("finished") for row in rows)
    table = Table(title=f"{sweep.title}: {finished} of {len(rows)} finished, {len(failed)} failed")
    table.add_column("network")
    table.add_column("state")
    table.add_column("best PGD-20 (%)", justify="right")
    for each, state, robust in begun[:_SHOWN]:
        table.add_row(each.name, state, f"{robust:.2f}")
    return table


def _state(each: Job, failed: Mapping[Job, str], sweep: Sweep) -> tuple[str, float | None]:
    """Where a job stands, and its best PGD-20 accuracy so far: on selection images until it has been measured."""
    if each in failed:
        return f"failed: {failed[each]}", 0.0
    outcome = each.outcome()
    if outcome is not None:
        robust = outcome.scores["best"]["pgd20"]
        return f"finished, PGD-20 {robust:.2f} % in {outcome.seconds:,.0f} s", robust
    rows = each.history()
    if not rows and not (each.folder / "plan.json").exists():
        return "waiting", None
    return f"epoch {len(rows)}/{sweep.train.epochs}", max((row["pgd20"] for row in rows), default=0.0)
