"""The live bar of long work on a terminal: what it is, how far, and what it does now."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

_SPEED_SECONDS = 600.0
"""Over how long the speed is taken: an epoch's selection belongs to it."""


def live_bar(console: Console, *times: ProgressColumn) -> Progress:
    """A bar whose tasks have a field ``now``, with columns of ``times`` behind it; not shown where nobody watches."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[now]}"),
        *times,
        speed_estimate_period=_SPEED_SECONDS,
        console=console,
        disable=not console.is_terminal or console.quiet,
        transient=True,
    )
