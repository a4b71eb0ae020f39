"""Gather what only a GPU can show, as much as fits into the minutes that there are, and go on from there the next time.

    python benchmarks/evidence.py --minutes 9 --out runs/evidence --data PATH
    python benchmarks/evidence.py --out runs/evidence --dry-run
    python benchmarks/evidence.py --out runs/evidence --data digits          the whole of it, small, on a CPU
    python benchmarks/evidence.py --minutes 9 --out E --data PATH --send S   and write what must survive into S
    python benchmarks/evidence.py --out E --join S --minutes 0               put it together again

The items, in the order of their worth, are in ``gpu/items.py``. Each writes into a folder of its own under --out;
``summary.md`` there says what is done. docs/gpu.md is about the machine that has no network and keeps nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.gpu import items as evidence
from benchmarks.gpu.ledger import Item, plan, summary
from reconfig.harness import command


@dataclass(frozen=True)
class Evidence:
    """What to gather."""

    out: Path
    """Folder of the evidence; what it holds is gone on from."""
    minutes: float = 9.0
    """Time for all of it, the writing at the end included."""
    data: str | None = None
    """Where the images are, as for run.py; digits makes every item small enough for a CPU."""
    only: tuple[str, ...] = ()
    """Items by the beginning of their names, if not all."""
    dry_run: bool = False
    """Print the items, what is done of them and the minutes that they still take, and do nothing."""
    send: Path | None = None
    """At the end write what must survive into this empty folder: an archive of all that is small, and weights in parts
    of at most 15 MiB, eight files at most."""
    join: Path | None = None
    """At the beginning take in what --send wrote, in one or several folders below this one."""

    def chosen(self) -> tuple[Item, ...]:
        """The items that are asked for.

        Raises:
            ValueError: If none is called so.
        """
        every = evidence.items(gpu=self.data != "digits")
        unknown = [name for name in self.only if not any(item.name.startswith(name) for item in every)]
        if unknown:
            raise ValueError(
                f"no item is called {', '.join(unknown)}; they are {', '.join(item.name for item in every)}"
            )
        return tuple(item for item in every if not self.only or item.name.startswith(self.only))


def run(wanted: Evidence, items: Sequence[Item]) -> None:
    """Do what is asked for.

    Raises:
        ReconfigError: One of its subclasses, for a folder that cannot be used or parts that do not fit.
    """
    from benchmarks.gpu import gather, travel
    from reconfig.harness import files

    def summarise() -> None:
        files.write_text(wanted.out / "summary.md", summary(items, wanted.out))

    if wanted.join is not None:
        print("\n".join(travel.take_in(wanted.join, wanted.out)))
    if wanted.dry_run:
        print(plan(items, wanted.out))
        return
    data = wanted.data or os.environ.get("RECONFIG_DATA", "")
    if wanted.minutes > 0:
        gather.gather(items, wanted.out, data, wanted.minutes, lambda line: print(line, flush=True), summarise)
    summarise()
    if wanted.send is not None:
        print("\n".join(travel.send(items, wanted.out, wanted.send)))


def main() -> int:
    """Gather what the command line asks for; the exit code."""
    wanted = tyro.cli(Evidence, description=__doc__)
    items = command.asked(wanted.chosen)
    return command.finish(lambda: run(wanted, items))


if __name__ == "__main__":
    sys.exit(main())
