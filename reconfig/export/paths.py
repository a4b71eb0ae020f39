"""Where an export may be written."""

from __future__ import annotations

import os
from pathlib import Path

from reconfig.errors import ExportError


def in_folder(path: str | os.PathLike[str], suffixes: tuple[str, ...], example: str) -> Path:
    """``path``, whose folder is there and which ends as its format does.

    Raises:
        ExportError: where it does not.
    """
    found = Path(path)
    if found.suffix not in suffixes:
        raise ExportError(f"{found} does not end in {' or '.join(suffixes)}: write {example}")
    if found.is_dir() or not found.parent.is_dir():
        what = "is a folder" if found.is_dir() else f"lies in {found.parent}, which is no folder"
        raise ExportError(f"cannot write {found}: it {what}")
    return found
