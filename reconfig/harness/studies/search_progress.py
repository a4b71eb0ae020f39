"""What a person sees of the trials of a search: a line for each that ends, and a bar or, in a log, a line a minute."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import TimeElapsedColumn

from reconfig.harness.jobs import note, short_training
from reconfig.harness.jobs.bar import live_bar
from reconfig.harness.jobs.meter import duration
from reconfig.harness.jobs.short_training import ShortTraining, Trial
from reconfig.harness.jobs.trials import Limits, Parameters, Report

_PLAIN_SECONDS = 60.0
"""Between two lines of a log."""


class SearchProgress:
    """Shows the trials of an arm, and says in their folders which have ended; a ``Listener`` and a context manager."""

    def __init__(self, console: Console, title: str, objective: ShortTraining, limits: Limits) -> None:
        self.console, self.title, self.objective, self.limits = console, title, objective, limits
        known = short_training.read_trials(objective.arm)
        self.before = self.epochs = sum(len(trial.history) for trial in known)
        self.count = sum(trial.ended for trial in known)
        self.best: tuple[int, float, str] = (0, 0.0, "")
        """Epochs, robust accuracy and rule of the best trial: of those that came furthest."""
        for trial in known:
            if trial.robust:
                self._consider(len(trial.robust), trial.robust[-1], trial.rule)
        self.running: dict[str, Parameters] = {}
        self.bar = live_bar(console, TimeElapsedColumn())
        self.task = self.bar.add_task(title, total=limits.epochs, now="")
        self.began = self.shown = time.monotonic()

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def reported(self, parameters: Parameters, report: Report) -> None:
        """See ``Listener``."""
        rule = self.objective.space.rule(parameters)
        self.running[rule] = parameters
        self.epochs += report.seconds > 0
        self._consider(report.epoch, report.robust, rule)
        self._show()

    def ended(self, parameters: Parameters) -> None:
        """See ``Listener``."""
        folder = self.objective.folder(parameters)
        self.running.pop(self.objective.space.rule(parameters), None)
        short_training.end(folder)
        trial = short_training.read_trial(folder)
        if trial is not None:
            self.count += 1
            self.console.print(f"{self.title} {self.count}  {_line(trial, self.limits.trial_epochs)}", soft_wrap=True)

    def tick(self) -> None:
        """See ``Listener``."""
        self._show()
        now = time.monotonic()
        if self.bar.disable and now - self.shown >= _PLAIN_SECONDS:
            self.shown = now
            doing = [note.read(self.objective.folder(parameters)) for parameters in self.running.values()]
            trials = "; ".join(f"{rule}: {text}" for rule, text in zip(self.running, doing, strict=True) if text)
            self.console.print(f"{self.title}  {self._text()}" + (f"  ({trials})" if trials else ""), soft_wrap=True)

    def _consider(self, epochs: int, robust: float, rule: str) -> None:
        self.best = max(self.best, (epochs, robust, rule))

    def _show(self) -> None:
        self.bar.update(self.task, completed=min(self.epochs, self.limits.epochs), now=self._text())

    def _text(self) -> str:
        epochs, robust, rule = self.best
        best = f"  best {rule} {robust:.1f} % after {epochs}" if rule else ""
        return f"epochs {self.epochs}/{self.limits.epochs}{best}{self._left()}"

    def _left(self) -> str:
        """How long it goes on: to the end of the seconds, or of the epochs at the speed so far."""
        elapsed, here = time.monotonic() - self.began, self.epochs - self.before
        left = self.limits.seconds - elapsed
        if here:
            left = min(left, (self.limits.epochs - self.epochs) * elapsed / here)
        return f"  {duration(max(0.0, left))} left"


def _line(trial: Trial, most: int) -> str:
    if trial.error:
        return f"{trial.rule}  cannot be trained: {trial.error}"
    if not trial.history:
        return f"{trial.rule}  stopped before its first epoch ended"
    return (
        f"{trial.rule}  PGD-20 {trial.robust[-1]:.1f} % after {len(trial.history)} of {most} epochs,"
        f" {trial.params:,} parameters, {trial.flops / 1e6:,.2f} M multiply-adds"
    )
