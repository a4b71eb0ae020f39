"""What a person sees of a run: a line per epoch, and on a terminal a live bar."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor

from reconfig.harness.experiment import Setting

_LIVE_SECONDS = 0.5
_PLAIN_SECONDS = 60.0


class TrainingProgress:
    """Shows the training of one network; a context manager. Nothing is shown where ``console`` is quiet."""

    def __init__(self, console: Console, name: str, setting: Setting) -> None:
        self.console, self.name = console, name
        self.train, self.select = setting.train, setting.evaluate.select
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[now]}"),
            console=console,
            disable=not console.is_terminal or console.quiet,
            transient=True,
        )
        self.task = self.bar.add_task(name, total=self.train.epochs, now="")
        self.steps_done = 0
        self.began = self.shown = time.monotonic()

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """A step was made. Looks at ``loss`` only now and then, because that waits for the device."""
        self.steps_done += 1
        now = time.monotonic()
        if now - self.shown < (_PLAIN_SECONDS if self.bar.disable else _LIVE_SECONDS):
            return
        self.shown = now
        done = epoch + step / steps
        text = f"{self._place(epoch)}  step {step}/{steps}  loss {loss.item():.3f}  {self._pace(done, steps)}"
        if self.bar.disable:
            self.console.print(f"{self.name}  {text}")
        else:
            self.bar.update(self.task, completed=done, now=text)

    def epoch(self, row: dict[str, Any], steps: int) -> None:
        """An epoch of ``steps`` steps ended with the metrics ``row``."""
        self.console.print(
            f"{self.name}  {self._place(row['epoch'] - 1)}  loss {row['loss']:.3f}"
            f"  train robust {row['train_robust']:.1f} %"
            f"  {self.select} clean {row['clean']:.1f} %, PGD-20 {row['pgd20']:.1f} %"
            f"  {self._pace(row['epoch'], steps)}"
        )

    def _place(self, epoch: int) -> str:
        return f"epoch {epoch + 1}/{self.train.epochs}"

    def _pace(self, epochs_done: float, steps: int) -> str:
        """Images a second and the time left, from the steps made since the start."""
        rate = self.steps_done / (time.monotonic() - self.began)
        left = (self.train.epochs - epochs_done) * steps / rate
        return f"{rate * self.train.batch:,.0f} images/s  {_clock(left)} left"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
