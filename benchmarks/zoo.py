"""Rewrite many networks that other people wrote, and judge each result from outside.

Runs "10-10-4" over the torchvision and timm models of zoo.json. Every model gets a time limit in a process of its own
that a crash or a time-out loses and replaces. What is judged is seen by forward hooks on convolutions and by real runs,
not by what the plan says: which convolutions changed, by what ratio, whether the result runs and trains, whether the
caller's model is as it was. Writes zoo.csv, one row a model, and a summary beside it. With ``--list beyond`` (extra
``beyond``) the models are those of beyond.json: segmentation, detection, video, volumes, audio, super-resolution and
generators, each trained one step on its library's own loss.

``--all`` takes every model of timm with a convolution and at most 150 M parameters instead, those of equal shapes once,
on images of 128 pixels where the network allows. ``--depth`` drops one block from, and adds one to, each stage that
has repeated blocks. A run that was ended goes on with ``--resume``.

    python benchmarks/zoo.py
    python benchmarks/zoo.py --all --jobs 2
    python benchmarks/zoo.py --depth --all --resume
    python benchmarks/zoo.py --gamma 1.5
    python benchmarks/zoo.py --peer --jobs 2
    python benchmarks/zoo.py --list beyond --peer --limit 900
    python benchmarks/zoo.py --only resnet50 regnet_y_16gf --source torchvision
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console

from benchmarks.judging.depth import DepthRow, depth_rows_of
from benchmarks.judging.depth_summary import depth_summary
from benchmarks.judging.judge import row_of
from benchmarks.judging.listing import everything
from benchmarks.judging.models import Entry, List, choose, entries
from benchmarks.judging.peer import peer_row_of
from benchmarks.judging.row import Row
from benchmarks.judging.summary import summary
from benchmarks.judging.table import Table
from benchmarks.judging.workers import LostError, Worker, run

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Options:
    """Which models, and how."""

    gamma: float = 1.0
    """Factor on every width, beside the rule."""
    depth: bool = False
    """Change the depth instead: a block less and a block more, stage by stage."""
    peer: bool = False
    """Run torch-pruning on the same models too, halving every layer."""
    all: bool = False
    """All of timm, instead of a list."""
    only: tuple[str, ...] = ()
    """Names of models; all of the list where left out."""
    list: List = "zoo"
    """"zoo": classifiers; "beyond": segmentation, detection, video, volumes, audio, super-resolution, generators."""
    source: str = "all"
    """The library that the models come from."""
    jobs: int = 1
    """Models at a time."""
    limit: float = 300.0
    """Seconds a model may take, building it and judging the result included."""
    peer_limit: float = 120.0
    """Seconds that torch-pruning may take, likewise."""
    resume: bool = False
    """Go on with the table that an interrupted run left."""
    out: Path | None = None
    """Folder for the tables; benchmarks/results for the whole list, runs/zoo for a part of it, where left out."""

    @property
    def folder(self) -> Path:
        """Where the tables go: those of a part do not take the place of the whole list's."""
        whole = not self.only and self.source == "all"
        return self.out or (ROOT / "benchmarks" / "results" if whole else ROOT / "runs" / "zoo")

    @property
    def name(self) -> str:
        """What the tables are called."""
        words = [self.list, *(["all"] if self.all else []), *(["depth"] if self.depth else [])]
        return "-".join([*words, *([f"gamma{self.gamma:g}"] if self.gamma != 1 else [])])

    def entries(self, console: Console) -> Sequence[Entry]:
        """The models that were asked for."""
        if not self.all:
            return entries(self.only, self.source, self.list)
        listed = everything(self.out or ROOT / "runs" / "zoo", console)
        return choose(listed, self.only, self.source, "timm's models that are judged, of equal shapes the first one")


def main(options: Options) -> int:
    """Run, write the tables, and return 1 where a model is not right.

    Raises:
        SystemExit: where the options exclude each other.
    """
    if options.depth and (options.peer or options.gamma != 1):
        raise SystemExit("error: --depth changes no width: leave --gamma and --peer out")
    if options.all and options.list != "zoo":
        raise SystemExit(f"error: --all is all of timm, not the list {options.list}: leave one of the two out")
    torch.set_num_threads(1)
    console = Console()
    chosen = options.entries(console)
    if options.depth:
        rows: list[Any] = _judged(options, console, chosen, DepthRow, partial(_depths, options))
        text, right = depth_summary(rows), all(row.verdict != "wrong" for row in rows)
    else:
        rows = _judged(options, console, chosen, Row, partial(_widths, options))
        text, right = summary(rows), all(row.right for row in rows)
    (options.folder / f"{options.name}.md").write_text(text)
    console.print(f"{text.splitlines()[0]} See {options.folder / options.name}.md", highlight=False)
    return 0 if right else 1


def _judged(
    options: Options,
    console: Console,
    chosen: Sequence[Entry],
    row: type[Any],
    rows_of: Callable[[Worker, Entry], list[Any]],
) -> list[Any]:
    """The rows of all chosen entries, those of the table that is gone on with among them, in the list's order."""
    table = Table(options.folder / f"{options.name}.csv", row, options.resume)
    done = {(held.source, held.name) for held in table.held}
    left = [entry for entry in chosen if (entry.source, entry.name) not in done]
    found = run(left, console, table.add, rows_of=rows_of, jobs=options.jobs)
    place = {(entry.source, entry.name): number for number, entry in enumerate(chosen)}
    rows = [one for one in (*table.held, *found) if (one.source, one.name) in place]
    return sorted(rows, key=lambda one: place[one.source, one.name])


def _widths(options: Options, worker: Worker, entry: Entry) -> list[Row]:
    try:
        row = worker.ask(partial(row_of, entry, options.gamma), options.limit)
    except LostError as lost:
        row = Row.of(entry, options.gamma)
        row.blame(str(lost))
    if options.peer:
        try:
            peer = worker.ask(partial(peer_row_of, entry), options.peer_limit)
            row.peer_right, row.peer_problem, row.peer_seconds = peer.peer_right, peer.peer_problem, peer.peer_seconds
        except LostError as lost:
            row.blame_peer(str(lost))
    row.right, row.problems = not row.problem_list, "; ".join(row.problem_list)
    return [row]


def _depths(options: Options, worker: Worker, entry: Entry) -> list[DepthRow]:
    try:
        return worker.ask(partial(depth_rows_of, entry), options.limit)
    except LostError as lost:
        return [DepthRow.of(entry, str(lost))]


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
