"""Random networks by the thousand: of every structure, and put together of any pieces, each under a rule of its own.

A part is a number of networks that one seed draws; a line of the file is a part that has ended. What a killed run has
written is not run again.

    PYTHONPATH=. python tests/many.py --networks 10000 --jobs 2 --out runs/many.jsonl
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import tyro
from hypothesis import HealthCheck, Phase, given, seed, settings, strategies as st
from properties import (
    SPECS,
    any_rule_works,
    depth_and_budget_work_or_say_why,
    last_stage_shrinks,
    ratios_and_channels_work_or_say_why,
    unchanged,
)
from random_structures import STRUCTURES, stages_are_those_built
from rich.console import Console
from rich.progress import track

import reconfig
from benchmarks.judging.workers import end_with_parent

EACH = 50
"""Networks of a part."""
STRUCTURED = 500
"""Networks of each structure, where there are enough in all."""


@dataclass(frozen=True)
class Options:
    """How many, and where the result goes."""

    networks: int = 10_000
    """In all."""
    jobs: int = 1
    """Processes, each with one thread."""
    out: Path = Path("runs/many.jsonl")
    """What has ended, and what a later run goes on with."""


@dataclass(frozen=True)
class Part:
    """Networks of one kind that one seed draws."""

    kind: str
    seed: int


@dataclass
class Ended:
    """What came of a part.

    Attributes:
        kind, seed: of the part.
        networks: how many were examined.
        seconds: of processor time.
        broken: tracebacks of what did not do as its plan says, or was refused where nothing had to be.
        unnamed: tracebacks of errors that are none of reconfig's.
    """

    kind: str
    seed: int
    networks: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)


def of_any_pieces(data: st.DataObject) -> None:
    """One network, one of the properties."""
    spec = data.draw(SPECS)
    check = data.draw(st.integers(0, 4))
    if check < 3:
        (any_rule_works, depth_and_budget_work_or_say_why, ratios_and_channels_work_or_say_why)[check](spec, data)
    else:
        (last_stage_shrinks, unchanged)[check - 3](spec)


def _structure(index: int) -> Callable[[st.DataObject], None]:
    return lambda data: stages_are_those_built(STRUCTURES[index], data)


KINDS: dict[str, Callable[[st.DataObject], None]] = {
    **{structure.__name__: _structure(index) for index, structure in enumerate(STRUCTURES)},
    "of any pieces": of_any_pieces,
}


def parts(networks: int) -> Iterator[Part]:
    """The parts of a run: 500 networks of each structure, or as many as an equal share is; the rest of any pieces."""
    structured = min(STRUCTURED, networks // len(KINDS)) // EACH
    for kind in list(KINDS)[:-1]:
        yield from (Part(kind, number) for number in range(structured))
    rest = -(-networks // EACH) - structured * (len(KINDS) - 1)
    yield from (Part("of any pieces", number) for number in range(rest))


def examine(part: Part) -> Ended:
    """Draw the networks of a part and hold each to what its kind promises."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    ended, began = Ended(part.kind, part.seed), time.process_time()

    @seed(part.seed)
    @settings(
        max_examples=EACH,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def drawn(data: st.DataObject) -> None:
        ended.networks += 1
        try:
            KINDS[part.kind](data)
        except (AssertionError, reconfig.ReconfigError):
            ended.broken.append(traceback.format_exc())
        except Exception:
            ended.unnamed.append(traceback.format_exc())

    drawn()
    ended.seconds = round(time.process_time() - began, 1)
    return ended


def held(path: Path) -> list[Ended]:
    """What a file holds; a line that a kill cut short is no part that has ended."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    return [Ended(**json.loads(line)) for line in lines if line.endswith("}")]


def summary(ended: Sequence[Ended]) -> str:
    """A table by kind, and every failure."""
    networks, broken, unnamed = Counter[str](), Counter[str](), Counter[str]()
    for part in ended:
        networks[part.kind] += part.networks
        broken[part.kind] += len(part.broken)
        unnamed[part.kind] += len(part.unnamed)
    seconds, total = sum(part.seconds for part in ended), networks.total()
    lines = ["# Random networks", "", "| kind | networks | broken | unnamed errors |", "| --- | --- | --- | --- |"]
    lines += [f"| {kind} | {networks[kind]:,} | {broken[kind]} | {unnamed[kind]} |" for kind in networks]
    lines += [f"| in all | {total:,} | {broken.total()} | {unnamed.total()} |", ""]
    lines += [
        f"{seconds / 3600:.1f} hours of processor time, {seconds / max(total, 1):.2f} s a network.",
        "",
    ]
    for part in ended:
        lines += [f"{part.kind}, seed {part.seed}:\n\n```\n{text}```\n" for text in (*part.broken, *part.unnamed)]
    return "\n".join(lines)


def main(options: Options) -> int:
    """Run what has not ended, write the summary beside it, and return 1 where something is broken."""
    console = Console()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    ended = held(options.out)
    options.out.write_text("".join(f"{json.dumps(asdict(part))}\n" for part in ended))
    done = {(part.kind, part.seed) for part in ended}
    left = [part for part in parts(options.networks) if (part.kind, part.seed) not in done]
    context = multiprocessing.get_context("spawn")
    with options.out.open("a") as file, ProcessPoolExecutor(options.jobs, context, end_with_parent) as pool:
        for part in track(pool.map(examine, left), total=len(left), console=console):
            file.write(f"{json.dumps(asdict(part))}\n")
            file.flush()
            os.fsync(file.fileno())
            ended.append(part)
            for text in (*part.broken, *part.unnamed):
                console.print(f"[bold]{part.kind}, seed {part.seed}[/]: {text.splitlines()[-1]}", highlight=False)
    options.out.with_suffix(".md").write_text(summary(ended))
    bad = sum(len(part.broken) + len(part.unnamed) for part in ended)
    networks = sum(part.networks for part in ended)
    console.print(f"{networks:,} networks, {bad} broken or unnamed; see {options.out.with_suffix('.md')}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
