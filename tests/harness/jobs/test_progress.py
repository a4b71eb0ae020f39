"""What is said while a network trains, by a clock of the test's own."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from reconfig.harness.experiment import Setting, Train
from reconfig.harness.jobs import progress
from reconfig.harness.jobs.note import Note
from reconfig.harness.jobs.progress import TrainingProgress


class Clock:
    """Says the seconds that it was set to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)

    def console(self, terminal: bool = False) -> Console:
        return Console(file=io.StringIO(), width=200, force_terminal=terminal, get_time=lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_speed_and_time_left_are_of_this_run_alone(clock: Clock, tmp_path: Path) -> None:
    console = clock.console()
    setting = Setting(train=Train(epochs=101, batch=128))
    with TrainingProgress(console, "net", setting, Note(tmp_path)) as shown:
        for step in range(1, 11):  # resumed after 50 epochs; 128 images in 10 seconds
            clock.now = 10.0 * step
            shown.step(50, step, 10, torch.tensor(2.0))
        shown.epoch({"epoch": 51, "loss": 1.5, "train_robust": 40.0, "clean": 70.0, "pgd20": 45.0}, 10)
    lines = printed(console).splitlines()
    assert lines == [  # rich rounds seconds up, here those of a sum of floats
        "net  epoch 51/101  step 6/10  loss 2.000  13 images/s  1:24:00 left",
        "net  epoch 51/101  loss 1.500  train robust 40.0 %  holdout clean 70.0 %, PGD-20 45.0 %"
        "  13 images/s  1:23:21 left",
    ]


def test_the_first_step_says_no_speed(clock: Clock, tmp_path: Path) -> None:
    console = clock.console()
    with TrainingProgress(console, "net", Setting(train=Train(epochs=2)), Note(tmp_path)) as shown:
        clock.now = 61.0
        shown.step(0, 1, 4, torch.tensor(2.0))
    assert printed(console) == "net  epoch 1/2  step 1/4  loss 2.000\n"


def test_a_terminal_has_a_bar_with_the_time_left(clock: Clock, tmp_path: Path) -> None:
    console = clock.console(terminal=True)
    with TrainingProgress(console, "net", Setting(train=Train(epochs=2, batch=10)), Note(tmp_path)) as shown:
        for step in (1, 2):
            clock.now = float(step)
            shown.step(0, step, 4, torch.tensor(2.0))
        shown.bar.refresh()
    drawn = printed(console)
    assert "epoch 1/2  step 2/4  loss 2.000  10 images/s" in drawn
    assert "0:00:06" in drawn
