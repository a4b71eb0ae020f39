"""What commands print, and the files that they write."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from reconfig.errors import ExportError
from reconfig.writing import whole


def print_json(record: Any) -> None:
    """Plain values (dicts, lists, numbers, text) as JSON."""
    print(json.dumps(record, indent=1))


@contextmanager
def aside() -> Iterator[None]:
    """Within, what a network prints while it is made or run goes to stderr: stdout is the command's own."""
    with redirect_stdout(sys.stderr):
        yield


def check_can_write(path: Path, *suffixes: str) -> None:
    """See that a file of one of these kinds can be written there, before anything takes time.

    Raises:
        ExportError: its name ends otherwise, or there is no such folder.
    """
    if path.suffix not in suffixes:
        ends = " or ".join(filter(None, (", ".join(suffixes[:-1]), suffixes[-1])))
        raise ExportError(f"{path} has to end in {ends}: write {path.with_suffix(suffixes[0])}")
    if not path.parent.is_dir():
        raise ExportError(f"cannot write {path}: there is no folder {path.parent}; make it first")


def write(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all; one that exists is replaced.

    Raises:
        ExportError: it cannot be written.
    """
    with whole(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
