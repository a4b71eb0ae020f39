"""What a person sees while a network is measured: how long it will take, then a live line, or one a minute in a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console

from reconfig.harness.jobs.bar import live_bar
from reconfig.harness.jobs.meter import Meter, duration
from reconfig.harness.jobs.note import Note
from reconfig.harness.watching import Part

_LIVE_SECONDS = 0.5
"""Between two looks on a terminal."""
_PLAIN_SECONDS = 60.0
"""Between two lines of a log."""
_NAMED = 0.02
"""The part of all the time from which a part is named before it begins."""


class MeasuringProgress:
    """Shows the measuring of one network; a ``Watch`` and a context manager. A quiet ``console`` shows nothing."""

    def __init__(self, console: Console, name: str, note: Note) -> None:
        self.console, self.name, self.note = console, name, note
        self.bar = live_bar(console)
        self.task = self.bar.add_task(name, total=1.0, now="")
        self.meter: Meter | None = None
        self.shown = time.monotonic()

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._long_piece()
        self.bar.stop()
        self.note.clear()

    def ahead(self, parts: Sequence[Part]) -> None:
        """See ``Watch``."""
        self.meter = Meter(parts)
        total = sum(part.seconds for part in parts)
        named = [part for part in parts if len(parts) > 1 and part.seconds >= _NAMED * total]
        shares = ", ".join(f"{part.name} {duration(part.seconds)}" for part in named)
        self.console.print(
            f"{self.name}  takes {duration(total)} or less, by a timed batch" + (f": {shares}" if shares else ""),
            soft_wrap=True,
            highlight=False,
        )

    def part(self, name: str, images: int, of: int) -> None:
        """See ``Watch``."""
        self._long_piece()
        self._metered.part(name, images, of)
        self._show()

    def ran(self, images: int, gradient: bool) -> None:
        """See ``Watch``."""
        self._metered.ran(images, gradient)
        self._show()

    def judged(self, images: int, right: int) -> None:
        """See ``Watch``."""
        self._metered.judge(images, right)

    @property
    def _metered(self) -> Meter:
        if self.meter is None:
            raise RuntimeError("a part began before it was said what is ahead")
        return self.meter

    def _long_piece(self) -> None:
        """A line that stays, of a piece that took more than a line's time."""
        if self.meter is not None and self.meter.piece_seconds >= _PLAIN_SECONDS:
            self._print(f"{self.meter.text()}  done in {duration(self.meter.piece_seconds)}")

    def _show(self) -> None:
        now = time.monotonic()
        self.note.write(lambda: f"{self._metered.text()}  {duration(self._metered.seconds_left())} left")
        if now - self.shown < (_PLAIN_SECONDS if self.bar.disable else _LIVE_SECONDS):
            return
        self.shown = now
        text = f"{self._metered.text()}  {duration(self._metered.seconds_left())} left"
        if self.bar.disable:
            self._print(text)
        else:
            self.bar.update(self.task, completed=self._metered.fraction, now=text)

    def _print(self, text: str) -> None:
        self.console.print(f"{self.name}  {text}", soft_wrap=True, highlight=False)
