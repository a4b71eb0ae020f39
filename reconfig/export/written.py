"""What an export tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Written:
    """An export.

    Attributes:
        files: what was written.
        takes: the shape of each input as text, a letter for what is free, as in "(N, 3, H, W)".
        notes: what is not as in the network, in words.
    """

    files: tuple[Path, ...]
    takes: tuple[str, ...]
    notes: tuple[str, ...] = ()
