"""Processes that judge models, each model under a time limit; a crash or the limit loses one model."""

from __future__ import annotations

import gc
import multiprocessing
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.judging.judge import judge
from benchmarks.judging.models import Entry
from benchmarks.judging.peer import judge_peer
from benchmarks.judging.row import Row, describe, differs


def run(
    entries: Sequence[Entry],
    console: Console,
    done: Callable[[Row], None],
    *,
    gamma: float,
    jobs: int,
    limit: float,
    peer_limit: float | None,
) -> list[Row]:
    """Judge all entries, misses shown and rows handed to ``done`` as they come; returns them in the list's order.

    Limits are seconds a model; without one for the peer, it is not run.
    """
    idle: SimpleQueue[Worker] = SimpleQueue()
    for _ in range(jobs):
        idle.put(Worker(gamma))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())

    def one(entry: Entry) -> Row:
        worker = idle.get()
        try:
            progress.update(task, description=entry.name)
            row = worker.ask(entry, limit)
            if peer_limit is not None:
                peer = worker.ask(entry, peer_limit, peer=True)
                row.peer_right, row.peer_problem = peer.peer_right, peer.peer_problem
                row.peer_seconds = peer.peer_seconds
        finally:
            idle.put(worker)
        row.right, row.problems = not row.problem_list, "; ".join(row.problem_list)
        for note in (*row.problem_list[:3], row.oracle if differs(row) else ""):
            if note:
                console.print(f"[bold]{row.name}[/]: {note}", highlight=False)
        progress.advance(task)
        done(row)
        return row

    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(jobs) as pool:
        task = progress.add_task("", total=len(entries))
        try:
            rows = list(pool.map(one, entries))
        finally:
            while not idle.empty():
                idle.get().close()
    return rows


class Worker:
    """A process that serves, started when needed and again after it was lost."""

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma
        self.process: Any = None

    def ask(self, entry: Entry, limit: float, peer: bool = False) -> Row:
        """The entry's row; a lost process or the limit (in seconds) is a problem of the row."""
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.pipe, other = context.Pipe()
            self.process = context.Process(target=serve, args=(other, self.gamma), daemon=True)
            self.process.start()
            other.close()
        problem = f"not done after {limit:g} s"
        try:
            self.pipe.send((entry, peer))
            if self.pipe.poll(limit):
                answer: Row = self.pipe.recv()
                return answer
        except (EOFError, OSError):
            self.process.join()
            problem = f"the process ended with exit code {self.process.exitcode}"
        self.close()
        row = Row.of(entry, self.gamma)
        (row.blame_peer if peer else row.blame)(problem)
        return row

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None


def serve(pipe: Connection, gamma: float) -> None:
    """A worker: judges the entries that come, one by one, in a process whose Python and torch are started once."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    while True:
        entry, peer = pipe.recv()
        row = Row.of(entry, gamma)
        try:
            if peer:
                judge_peer(entry, row)
            else:
                row = judge(entry, gamma)
        except Exception as error:
            (row.blame_peer if peer else row.blame)(describe(error))
        gc.collect()
        pipe.send(row)
