"""What is said while a network is measured, by a clock of the test's own."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from helpers import small_digits
from helpers.small_training import small_machine
from rich.console import Console

from reconfig.harness.jobs import measuring_progress, meter, note
from reconfig.harness.jobs.measuring_progress import MeasuringProgress
from reconfig.harness.jobs.note import Note
from reconfig.harness.measuring.measures import MEASURES
from reconfig.harness.measuring.scores import scores
from reconfig.harness.watching import Part, Passes, Rates

RATES = Rates(gradient=3.0, run=1.0)
PGD = Part("PGD-20", 10, Passes(20, 1), RATES)
ATTACKS = ("APGD-CE", "FAB-T", "SQUARE")
AA = [Part(f"AutoAttack: {name}", 8, Passes(10, 0), RATES) for name in ATTACKS]


class Clock:
    """Says the seconds that it was set to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        for module in (measuring_progress, meter, note):
            monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def quiet(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=200, force_terminal=terminal)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_log_has_a_line_a_minute_and_one_of_each_long_part(clock: Clock, tmp_path: Path) -> None:
    console = quiet()
    with MeasuringProgress(console, "net", Note(tmp_path)) as shown:
        shown.ahead([PGD, AA[1]])
        shown.part("PGD-20", 10, 10)
        for step in range(5):  # twice as slow as the timed batch
            clock.now += 50.0
            for _ in range(20):
                shown.ran(2, True)
            shown.ran(2, False)
            shown.judged(2, 1)
            if step == 2:
                assert note.read(tmp_path).startswith("PGD-20 (1 of 2)  images 4/10  right on 50.0 %")
        shown.part("AutoAttack: FAB-T", 8, 8)
    assert note.read(tmp_path) == ""
    assert not list(tmp_path.iterdir())
    lines = printed(console).splitlines()
    assert lines[0] == "net  takes 0:14:10 or less, by a timed batch: PGD-20 0:10:10, AutoAttack: FAB-T 0:04:00"
    # What was done in 100 s are 128 s of the timed batch, so the 722 s ahead will take 564.
    assert lines[1] == "net  PGD-20 (1 of 2)  images 2/10  right on 50.0 %  0:09:24 left"
    assert lines[-1] == "net  PGD-20 (1 of 2)  images 10/10  right on 50.0 %  done in 0:04:10"
    assert len(lines) == 4


def test_a_terminal_shows_it_live(clock: Clock, tmp_path: Path) -> None:
    console = quiet(terminal=True)
    with MeasuringProgress(console, "net", Note(tmp_path)) as shown:
        shown.ahead([PGD])
        shown.part("PGD-20", 10, 10)
        clock.now = 1.0
        shown.ran(2, True)
        shown.bar.refresh()
    assert "PGD-20 (1 of 1)  images 0/10  0:10:04 left" in printed(console)


def test_autoattack_says_how_many_still_stand(clock: Clock) -> None:
    shown = meter.Meter(AA)
    assert shown.seconds_left() == 3 * 8 * 30
    shown.part("AutoAttack: APGD-CE", 3, 4)  # the first of two shards: one image is wrong as it is
    assert shown.text() == "AutoAttack: APGD-CE (1 of 3)  images 1/8  right on 75.0 %"
    shown.judge(3, 2)
    assert shown.text() == "AutoAttack: APGD-CE (1 of 3)  images 4/8  right on 50.0 %"
    shown.part("AutoAttack: FAB-T", 2, 4)
    # Two images here; of the 8 + 4 + 4 to come half as many as there are.
    assert shown.seconds_left() == 30 * (2 + (4 + 4 + 8) / 2)
    shown.judge(2, 2)
    shown.part("AutoAttack: SQUARE", 2, 4)
    shown.judge(2, 1)
    shown.part("AutoAttack: APGD-CE", 4, 4)  # the second shard
    assert shown.text() == "AutoAttack: APGD-CE (1 of 3)  images 4/8  right on 62.5 %"
    shown.judge(4, 0)
    assert shown.text() == "AutoAttack: APGD-CE (1 of 3)  images 8/8  right on 12.5 %"


def test_what_was_done_before_takes_no_time(clock: Clock) -> None:
    shown = meter.Meter([PGD, *AA])
    shown.part("AutoAttack: APGD-CE", 4, 8)
    shown.judge(4, 4)
    assert shown.seconds_left() == 30 * (8 + 8) / 2
    assert shown.fraction == 0


def test_every_measure_does_what_it_said_is_ahead(tmp_path: Path) -> None:
    """All but AutoAttack, whose attacks are held in their own tests."""

    class Watch:
        def __init__(self) -> None:
            self.parts: dict[str, Part] = {}
            self.done: dict[str, list[int]] = {}
            self.name = ""

        def ahead(self, parts: list[Part]) -> None:
            self.parts = {part.name: part for part in parts}

        def part(self, name: str, images: int, of: int) -> None:
            assert images == of == self.parts[name].images
            self.name = name
            self.done[name] = [0, 0, 0]

        def ran(self, images: int, gradient: bool) -> None:
            self.done[self.name][not gradient] += images

        def judged(self, images: int, right: int) -> None:
            self.done[self.name][2] += images

    watch = Watch()
    measures = [name for name in MEASURES if name not in ("clean", "aa", "preview", "transfer")]
    setting = small_digits.measured(*measures)
    machine = small_machine(tmp_path)
    scores(machine, small_digits.network(), small_digits.unseen(50), setting, tmp_path, watch)  # type: ignore[arg-type]
    assert watch.parts.keys() == watch.done.keys()
    assert len(watch.parts) == len(measures) + 2  # clean, and two parts of the Lipschitz constant
    for name, part in watch.parts.items():
        gradients, runs, judged = watch.done[name]
        passes = part.passes
        bound = name == "Lipschitz: steepest"  # a run for Theorem 2's
        assert (gradients, runs) == (passes.gradients * part.images, passes.runs * part.images + bound), name
        assert judged == (0 if name.startswith("Lipschitz") else part.images), name
        assert part.seconds > 0
