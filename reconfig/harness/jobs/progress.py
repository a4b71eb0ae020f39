"""What a person sees of a run: a line per epoch, and on a terminal a live bar."""

from __future__ import annotations

import time
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import TimeRemainingColumn
from torch import Tensor

from reconfig.harness.experiment import Setting
from reconfig.harness.jobs.bar import live_bar
from reconfig.harness.jobs.note import Note

_LIVE_SECONDS = 0.5
"""Between two looks at the loss on a terminal: each waits for the device."""
_PLAIN_SECONDS = 60.0
"""Between two lines of a log within an epoch."""


class TrainingProgress:
    """Shows the training of one network; a context manager. Nothing is shown where ``console`` is quiet."""

    def __init__(self, console: Console, name: str, setting: Setting, note: Note) -> None:
        self.console, self.name, self.note = console, name, note
        self.train, self.select = setting.train, setting.evaluate.select
        self.bar = live_bar(console, TimeRemainingColumn())
        self.task = self.bar.add_task(name, total=self.train.epochs, now="")
        self.shown = time.monotonic()

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        self.note.clear()

    def say(self, line: str) -> None:
        """Something was decided before the first step."""
        self.console.print(f"{self.name}  {line}")

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """A step was made. Looks at ``loss`` only now and then, because that waits for the device."""
        done = epoch + step / steps
        self.bar.update(self.task, completed=done)  # the first only begins the clock, however far an earlier run came
        self.note.write(lambda: f"{self._epoch(epoch)}  step {step}/{steps}{self._left()}")
        now = time.monotonic()
        if now - self.shown < (_PLAIN_SECONDS if self.bar.disable else _LIVE_SECONDS):
            return
        self.shown = now
        text = f"{self._epoch(epoch)}  step {step}/{steps}  loss {loss.item():.3f}{self._rate(steps)}"
        if self.bar.disable:
            self.console.print(f"{self.name}  {text}{self._left()}", soft_wrap=True)
        else:
            self.bar.update(self.task, now=text)

    def epoch(self, row: dict[str, Any], steps: int) -> None:
        """An epoch of ``steps`` steps ended with the metrics ``row``."""
        self.console.print(
            f"{self.name}  {self._epoch(row['epoch'] - 1)}  loss {row['loss']:.3f}"
            f"  train robust {row['train_robust']:.1f} %"
            f"  {self.select} clean {row['clean']:.1f} %, PGD-20 {row['pgd20']:.1f} %"
            f"{self._rate(steps)}{self._left()}",
            soft_wrap=True,
        )

    def _epoch(self, epoch: int) -> str:
        return f"epoch {epoch + 1}/{self.train.epochs}"

    def _rate(self, steps: int) -> str:
        """Images a second, once two steps have been made."""
        speed = self.bar.tasks[0].speed
        return f"  {speed * steps * self.train.batch:,.0f} images/s" if speed else ""

    def _left(self) -> str:
        left = self.bar.tasks[0].time_remaining
        return f"  {timedelta(seconds=round(left))} left" if left is not None else ""
