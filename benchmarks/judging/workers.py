"""Processes that judge models, each model under a time limit; a crash or the limit loses one model."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.judging.models import Entry

_SAY_EVERY = 20  # models, between two lines that say how long the rest takes
_Answer = TypeVar("_Answer")


class Judged(Protocol):
    """A row, of any table."""

    name: str
    seconds: float

    def notes(self) -> list[str]:
        """What is printed of it while the run goes on."""
        ...


_Row = TypeVar("_Row", bound=Judged)


class LostError(Exception):
    """A process that ended, or did not answer in time; the message says which."""


def run(
    entries: Sequence[Entry],
    console: Console,
    done: Callable[[Sequence[_Row]], None],
    *,
    rows_of: Callable[[Worker, Entry], list[_Row]],
    jobs: int,
) -> list[_Row]:
    """``rows_of`` each entry, notes shown and rows handed to ``done`` as they come; returns them in order."""
    idle: SimpleQueue[Worker] = SimpleQueue()
    for _ in range(jobs):
        idle.put(Worker())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    pace = Pace(len(entries))

    def one(entry: Entry) -> list[_Row]:
        worker = idle.get()
        try:
            progress.update(task, description=entry.name)
            rows = rows_of(worker, entry)
        finally:
            idle.put(worker)
        for row in rows:
            for note in row.notes():
                console.print(f"[bold]{row.name}[/]: {note}", highlight=False)
        progress.advance(task)
        done(rows)
        if said := pace.after(sum(row.seconds for row in rows)):
            console.print(said, highlight=False)
        return rows

    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(jobs) as pool:
        task = progress.add_task("", total=len(entries))
        try:
            found = list(pool.map(one, entries))
        finally:
            while not idle.empty():
                idle.get().close()
    return [row for rows in found for row in rows]


@dataclass
class Pace:
    """How far a run over ``total`` models is, and how long the rest will take at the pace it had."""

    total: int
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    seconds: float = 0.0

    def after(self, seconds: float) -> str:
        """What to say after a model that took so many seconds of processor time; often nothing."""
        self.done += 1
        self.seconds += seconds
        if self.done % _SAY_EVERY:
            return ""
        left = (time.monotonic() - self.began) / self.done * (self.total - self.done)
        return (
            f"{self.done} of {self.total} models, {self.seconds / self.done:.1f} s of processor time each; "
            f"about {left / 60:.0f} minutes left"
        )


class Worker:
    """A process that serves, started when needed and again after it was lost."""

    def __init__(self) -> None:
        self.process: Any = None

    def ask(self, work: Callable[[], _Answer], limit: float) -> _Answer:
        """What ``work`` returns over there.

        Raises:
            LostError: where the process ended, or ``limit`` seconds went by.
        """
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.pipe, other = context.Pipe()
            self.process = context.Process(target=serve, args=(other,), daemon=True)
            self.process.start()
            other.close()
        problem = f"not done after {limit:g} s"
        try:
            self.pipe.send(work)
            if self.pipe.poll(limit):
                answer: _Answer = self.pipe.recv()
                return answer
        except (EOFError, OSError):
            self.process.join()
            problem = f"the process ended with exit code {self.process.exitcode}"
        self.close()
        raise LostError(problem)

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None


def serve(pipe: Connection) -> None:
    """A worker: does what comes, one by one, in a process whose Python and torch are started once."""
    end_with_parent()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    while True:
        answer = pipe.recv()()
        gc.collect()
        pipe.send(answer)


def end_with_parent() -> None:
    """Let this process end at once with the one that started it, which does not say so where it is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this process was started by no multiprocessing"

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
