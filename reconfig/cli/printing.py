"""What commands print, and the files that they write."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from reconfig.errors import ExportError


def print_json(record: Any) -> None:
    """Plain values (dicts, lists, numbers, text) as JSON."""
    print(json.dumps(record, indent=1))


@contextmanager
def aside() -> Iterator[None]:
    """Within, what a network prints while it is made or run goes to stderr: stdout is the command's own."""
    with redirect_stdout(sys.stderr):
        yield


def write(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all; one that exists is replaced.

    Raises:
        ExportError: it cannot be written.
    """
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(unfinished, path)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
