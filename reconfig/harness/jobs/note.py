"""A line in a file: what a job is doing, for those who look from another process or machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

_SECONDS = 2.0
"""Between two lines."""
_NAME = "now.txt"


class Note:
    """The line of the job in ``folder``; of a process that is not ``main``, none."""

    def __init__(self, folder: Path, main: bool = True) -> None:
        self.path = folder / _NAME if main else None
        self.written = 0.0

    def write(self, text: Callable[[], str]) -> None:
        """Write what ``text`` gives, unless something was written just now."""
        now = time.monotonic()
        if self.path is None or now - self.written < _SECONDS:
            return
        self.written = now
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.write_text(text(), encoding="utf-8")  # lost in a crash of the machine, it is no loss
        os.replace(unfinished, self.path)

    def clear(self) -> None:
        """Leave nothing: what was done is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.written = 0.0


def read(folder: Path) -> str:
    """What the job in ``folder`` is doing; nothing where it does not say."""
    try:
        return (folder / _NAME).read_text(encoding="utf-8")
    except OSError:
        return ""
