"""Rewrite many networks that other people wrote, and judge each result from outside.

Runs "10-10-4" over the torchvision and timm models of zoo.json. Every model gets a time limit in a process of its own
that a crash or a time-out loses and replaces. What is judged is seen by forward hooks on convolutions and by real runs,
not by what the plan says: which convolutions changed, by what ratio, whether the result runs and trains, whether the
caller's model is as it was. Writes zoo.csv, one row a model, and a summary beside it. With ``--list beyond`` (extra
``beyond``) the models are those of beyond.json: segmentation, detection, video, volumes, audio, super-resolution and
generators, each trained one step on its library's own loss.

    python benchmarks/zoo.py
    python benchmarks/zoo.py --gamma 1.5
    python benchmarks/zoo.py --peer --jobs 2
    python benchmarks/zoo.py --list beyond --peer --limit 900
    python benchmarks/zoo.py --only resnet50 regnet_y_16gf --source torchvision
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from benchmarks.judging.models import List, entries
from benchmarks.judging.summary import summary
from benchmarks.judging.table import Table
from benchmarks.judging.workers import run

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Options:
    """Which models, and how."""

    gamma: float = 1.0
    """Factor on every width, beside the rule."""
    peer: bool = False
    """Run torch-pruning on the same models too, halving every layer."""
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


def main(options: Options) -> int:
    """Run, write the tables, and return 1 where a model is not right."""
    console = Console()
    chosen = entries(options.only, options.source, options.list)
    name = options.list if options.gamma == 1 else f"{options.list}-gamma{options.gamma:g}"
    table = Table(options.folder / f"{name}.csv", options.resume)
    done = {(row.source, row.name): row for row in table.held}
    left = [entry for entry in chosen if (entry.source, entry.name) not in done]
    found = run(
        left,
        console,
        table.add,
        gamma=options.gamma,
        jobs=options.jobs,
        limit=options.limit,
        peer_limit=options.peer_limit if options.peer else None,
    )
    done |= {(row.source, row.name): row for row in found}
    rows = [done[entry.source, entry.name] for entry in chosen]
    (options.folder / f"{name}.md").write_text(summary(rows))
    console.print(
        f"{sum(row.right for row in rows)} of {len(rows)} right; see {options.folder / name}.md", highlight=False
    )
    return 0 if all(row.right for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
