"""A table of rows as a CSV that an interrupted run can go on with."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

_Row = TypeVar("_Row")


class Table(Generic[_Row]):
    """The CSV, a line a row, written as the rows come so that an interrupted run keeps what it has.

    ``row`` is their dataclass; a field of it that is not shown by ``repr`` is no column.
    """

    def __init__(self, path: Path, row: type[_Row], resume: bool = False) -> None:
        self.path, self.row = path, row
        self.columns = {item.name: str(item.type) for item in fields(row) if item.repr}  # type: ignore[arg-type]
        self.held = self._read() if resume and path.exists() else []
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(",".join(self.columns) + "\n")
        self.add(self.held)

    def add(self, rows: Sequence[_Row]) -> None:
        """Write rows, all at once: those of one model stay together."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, extrasaction="ignore", lineterminator="\n")
        for row in rows:
            values = asdict(row)  # type: ignore[call-overload]
            writer.writerow({name: f"{v:.4g}" if isinstance(v, float) else v for name, v in values.items()})
        with self.path.open("a", newline="") as file:
            file.write(text.getvalue())

    def _read(self) -> list[_Row]:
        """The rows of a table; a last one that was cut off is left out."""
        read: dict[str, Callable[[str], Any]] = {"bool": lambda text: text == "True", "int": int, "float": float}
        kinds = {name: read.get(kind, str) for name, kind in self.columns.items()}
        with self.path.open(newline="") as file:
            lines = [line for line in csv.DictReader(file) if None not in line.values()]
        return [self.row(**{name: kinds[name](text) for name, text in line.items() if name in kinds}) for line in lines]
