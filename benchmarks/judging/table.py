"""The table of rows as a CSV that an interrupted run can go on with."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from benchmarks.judging.row import Row

_COLUMNS = {item.name: item.type for item in fields(Row) if item.name != "problem_list"}


class Table:
    """The CSV, one line a model, written as the rows come so that an interrupted run keeps what it has."""

    def __init__(self, path: Path, resume: bool = False) -> None:
        self.path = path
        self.held = _read_rows(path) if resume and path.exists() else []
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(",".join(_COLUMNS) + "\n")
        for row in self.held:
            self.add(row)

    def add(self, row: Row) -> None:
        """Write a line."""
        values = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in asdict(row).items()}
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, _COLUMNS, extrasaction="ignore", lineterminator="\n").writerow(values)


def _read_rows(path: Path) -> list[Row]:
    """The rows of a table; a last one that was cut off is left out."""
    read: dict[str, Callable[[str], Any]] = {"bool": lambda text: text == "True", "int": int, "float": float}
    kinds = {name: read.get(str(kind), str) for name, kind in _COLUMNS.items()}
    with path.open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if None not in line.values()]
    return [Row(**{name: kinds[name](text) for name, text in line.items()}) for line in lines]
