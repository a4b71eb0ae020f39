"""Files written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconfig.errors import ExportError

_UNFINISHED = ".unfinished"  # before the suffix, since writers look at that


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Another name for ``path`` to write to; it becomes ``path`` where nothing raises, and is gone otherwise.

    Raises:
        ExportError: where the file cannot be written.
    """
    unfinished = path.with_name(path.stem + _UNFINISHED + path.suffix)
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
