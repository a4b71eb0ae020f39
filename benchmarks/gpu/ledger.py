"""What a folder of evidence holds of each item: its attempts, whether it is finished, and how long the rest will take.

The folder of an item:
    out/            what its command wrote
    log.txt         what its command printed
    command.json    the command, which stays the same over all attempts
    attempts.jsonl  a line for each attempt: seconds, and how it ended
    running.json    the attempt under way, renewed every second: what a kill leaves of it
    finished.json   there once the command ended well
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from reconfig.harness import files

_TABLES = 2
"""How far below an item's ``out`` its tables lie, at most."""
_ENOUGH = 0.02
"""The part of an item that has to be done before its pace says anything of the rest."""
_LONGER = 1.5
"""What an item that cannot be divided is expected to take, over the time after which it was stopped unfinished."""


@dataclass(frozen=True)
class Item:
    """One piece of evidence: a command, and what is known of it beforehand."""

    name: str
    """Also that of its folder."""
    about: str
    command: Callable[[Path], list[str]]
    """(the folder of all the evidence) -> the command; its own output goes into ``out`` of the item's folder."""
    minutes: float
    """What it is expected to take where nothing was measured."""
    basis: str
    """Where ``minutes`` comes from."""
    kind: str = ""
    """Items of one kind take about the same minutes."""
    progress: Callable[[Path], float] | None = None
    """(its ``out``) -> the part that is done, from 0 to 1. None: it cannot be divided, and has to fit."""
    needs: tuple[str, ...] = ()
    """Items that have to be finished before."""


class Expectation(NamedTuple):
    """How long an item still takes."""

    minutes: float
    basis: str


class Held:
    """What ``folder`` holds of an item."""

    def __init__(self, folder: Path, item: Item) -> None:
        self.item, self.all, self.folder = item, folder, folder / item.name
        self.out = self.folder / "out"

    def command(self) -> list[str]:
        """The item's command as the first attempt chose it: a run goes on only with the options it was begun with.

        Where things lie, which may be elsewhere by now, is left in braces.
        """
        path = self.folder / "command.json"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            files.write_json(path, {"command": self.item.command(self.all)})
        words: list[str] = files.read_json(path)["command"]
        return words

    @property
    def finished(self) -> bool:
        """Whether its command has ended well."""
        return (self.folder / "finished.json").exists()

    @property
    def part(self) -> float:
        """How much of it is done, from 0 to 1."""
        if self.finished:
            return 1.0
        return self.item.progress(self.out) if self.item.progress is not None and self.out.exists() else 0.0

    def attempts(self) -> list[dict[str, Any]]:
        """All attempts that ended, in whichever way."""
        return read_lines(self.folder / "attempts.jsonl")

    def minutes(self) -> float:
        """Spent on it, in all attempts."""
        return sum(attempt["seconds"] for attempt in self.attempts()) / 60

    def failures(self) -> int:
        """Attempts in which its command itself ended badly."""
        return sum(attempt["ended"] == "failed" for attempt in self.attempts())

    def add(self, attempt: dict[str, Any]) -> None:
        """Enter an attempt; one that was under way when everything was killed is entered first."""
        files.write_json_lines(self.folder / "attempts.jsonl", [*self.attempts(), attempt])
        (self.folder / "running.json").unlink(missing_ok=True)

    def recover(self) -> None:
        """Enter the attempt that was under way when everything was killed, if there was one."""
        running = self.folder / "running.json"
        if running.exists():
            self.add(json.loads(running.read_text(encoding="utf-8")) | {"ended": "killed"})


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of JSON lines; none where there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def expected(item: Item, items: Sequence[Item], folder: Path) -> Expectation:
    """The minutes that ``item`` still takes: by its own pace, by finished ones of its kind, else as was estimated."""
    held = Held(folder, item)
    part, spent = held.part, held.minutes()
    if part >= _ENOUGH and spent:
        return Expectation(spent * (1 - part) / part, f"measured: {part:.0%} in {spent:.1f} min")
    stopped = max((one["seconds"] / 60 for one in held.attempts() if one["ended"] == "stopped"), default=0.0)
    if item.progress is None and stopped:
        return Expectation(max(item.minutes, _LONGER * stopped), f"not done in {stopped:.1f} min")
    alike = [Held(folder, other) for other in items if other.kind == item.kind != "" and other.name != item.name]
    done = [other for other in alike if other.finished and other.minutes()]
    if done:
        mean = sum(other.minutes() for other in done) / len(done)
        return Expectation(mean * (1 - part), "measured on " + ", ".join(each.item.name for each in done))
    return Expectation(item.minutes * (1 - part), item.basis)


# ---------------------------------------------------------------- for people


def plan(items: Sequence[Item], folder: Path) -> str:
    """The items in their order, with what is done and the minutes that are still expected."""
    lines = [f"{'item':28} {'done':>5} {'spent':>7} {'to go':>7}   which is"]
    left = 0.0
    for item in items:
        held, wanted = Held(folder, item), expected(item, items, folder)
        to_go = 0.0 if held.finished else wanted.minutes
        left += to_go
        state = f"{held.part:>5.0%} {held.minutes():>7.1f} {to_go:>7.1f}"
        lines.append(f"{item.name:28} {state}   {'finished' if held.finished else wanted.basis}")
    return "\n".join([*lines, f"{'all':28} {'':>5} {'':>7} {left:>7.1f}   minutes to go"])


def summary(items: Sequence[Item], folder: Path) -> str:
    """The state of every item, why the last attempt failed where it did, and the tables."""
    lines = ["# Evidence", "", "| item | what | done | minutes |", "| --- | --- | --: | --: |"]
    tables = []
    for item in items:
        held = Held(folder, item)
        attempts = held.attempts()
        why = f" (failed: {attempts[-1]['why']})" if attempts and attempts[-1]["ended"] == "failed" else ""
        lines.append(f"| {item.name} | {item.about}{why} | {held.part:.0%} | {held.minutes():.1f} |")
        for path in sorted(held.out.rglob("*.md")):
            if len(path.relative_to(held.out).parts) <= _TABLES:
                tables += ["", f"## {item.name}: {path.stem}", "", path.read_text(encoding="utf-8").strip()]
    return "\n".join([*lines, *tables]) + "\n"
