"""Inherited weights on networks that other people wrote: what they keep where widths grow, and where one shrinks.

grow: "10-10-10" at each gamma, on one model of each CNN family of zoo.json, with weights="inherit" and random norm
statistics. Held where the logits stay the same (float32).

shrink: "10-10-4" on every CNN of zoo.json with batch norm and no grouped (or depthwise) convolution, in float64. Held
where the result is the original with channels masked: every tensor is cut out of the original's, and the original
gives the result's logits once forward hooks zero the dropped channels of every convolution, linear map and norm. Which
channels were dropped is read off the tensors, in which no value occurs twice, and not off the plan. In networks that
never join or split channels, tensors that were cut alike are also ranked: those kept have the largest L2 norms.

Writes results/inherit.csv, one row a check, and a summary beside it.

    python benchmarks/inherit.py --jobs 2
    python benchmarks/inherit.py --only resnet50 --source timm
"""

from __future__ import annotations

import csv
import gc
import multiprocessing
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import torch
import tyro
from rich.console import Console
from rich.progress import track

from benchmarks.judging.inheritance import GROWN_TOLERANCE, MASKED_TOLERANCE, Row, grow, shrink
from benchmarks.judging.models import Entry, entries
from benchmarks.judging.row import describe

GAMMAS = (1.5, 2.0)


@dataclass(frozen=True)
class Options:
    """Which models."""

    only: tuple[str, ...] = ()
    """Names of models; all of the list where left out."""
    source: Literal["torchvision", "timm", "all"] = "all"
    """Where the models come from."""
    size: int = 128
    """Largest image side, except for models that need more."""
    jobs: int = 1
    """Processes, each with one thread."""
    out: Path = Path(__file__).resolve().parent / "results"
    """Folder for the tables."""


def check(task: tuple[Entry, str, float, int]) -> Row | None:
    """One row, whatever happens."""
    entry, kind, gamma, largest = task
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        return grow(entry, gamma, largest) if kind == "grow" else shrink(entry, largest)
    except Exception as error:
        return Row(entry.name, entry.source, entry.family, kind, gamma, problem=describe(error))
    finally:
        gc.collect()


def tasks(chosen: Sequence[Entry], largest: int) -> list[tuple[Entry, str, float, int]]:
    """The checks of these models."""
    networks = [entry for entry in chosen if entry.kind == "cnn"]
    first = {entry.family: entry for entry in reversed(networks)}
    grown = [entry for entry in networks if first[entry.family] is entry]
    return [
        *((entry, "grow", gamma, largest) for entry in grown for gamma in GAMMAS),
        *((entry, "shrink", 1.0, largest) for entry in networks),
    ]


def summary(rows: Sequence[Row]) -> str:
    """The tables as markdown."""
    lines = ['# `weights="inherit"` on the models of zoo.json', ""]
    lines += [
        "| check | models | held | with frozen widths | median difference | worst that held |",
        "|" + " --- |" * 6,
    ]
    kinds = [("grow", gamma) for gamma in GAMMAS] + [("shrink", 1.0)]
    for kind, gamma in kinds:
        part = [row for row in rows if (row.check, row.gamma) == (kind, gamma)]
        if not part:
            continue
        held = sorted(row.difference for row in part if row.held)
        label = f"grow, γ={gamma:g}" if kind == "grow" else "shrink, 10-10-4"
        figures = [f"{held[len(held) // 2]:.1e}", f"{held[-1]:.1e}"] if held else ["", ""]
        frozen = sum(row.frozen > 0 for row in part)
        lines.append("| " + " | ".join([label, str(len(part)), str(len(held)), str(frozen), *figures]) + " |")
    ranked = [row for row in rows if row.ranked]
    lines += [
        "",
        f"Grown: held where logits differ by less than {GROWN_TOLERANCE:g} of the largest (float32, one model a "
        f"family). Shrunk: held where they differ from the masked original's by less than {MASKED_TOLERANCE:g} "
        "(float64, every CNN with batch norm and no grouped convolution), and where the kept channels are those of "
        f"the largest L2 norm: {sum(row.ranked for row in ranked)} groups in the {len(ranked)} networks that neither "
        "join nor split channels.",
        "",
    ]
    missed = [row for row in rows if not row.held]
    if missed:
        lines += ["| not held | check | why |", "| --- | --- | --- |"]
        lines += [f"| {row.source} {row.name} | {row.check} {row.gamma:g} | {row.problem} |" for row in missed]
        lines.append("")
    return "\n".join(lines)


def main(options: Options) -> int:
    """Run, write the tables, and return 1 where a check did not hold."""
    console = Console()
    chosen = tasks(entries(options.only, options.source), options.size)
    rows: list[Row] = []
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "inherit.csv"
    context = multiprocessing.get_context("spawn")
    with path.open("w", newline="") as file, ProcessPoolExecutor(options.jobs, context) as pool:
        writer = csv.DictWriter(file, [item.name for item in fields(Row)])
        writer.writeheader()
        for row in track(pool.map(check, chosen), total=len(chosen), console=console):
            if row is None:
                continue
            rows.append(row)
            writer.writerow(asdict(row) | {"difference": f"{row.difference:.2e}"})
            file.flush()
            if not row.held:
                console.print(f"[bold]{row.name}[/] {row.check} {row.gamma:g}: {row.problem}", highlight=False)
    path.with_suffix(".md").write_text(summary(rows))
    console.print(f"{sum(row.held for row in rows)} of {len(rows)} held; see {path.with_suffix('.md')}")
    return 0 if all(row.held for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
