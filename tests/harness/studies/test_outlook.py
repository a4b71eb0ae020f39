"""How long a sweep takes, before its first job begins."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from reconfig.harness import files
from reconfig.harness.data.dataset import load_dataset
from reconfig.harness.experiment import Attack, Compute, Data, Evaluate, Setting, Train
from reconfig.harness.jobs import forecast
from reconfig.harness.jobs.job import Job
from reconfig.harness.machine.machine import Machine
from reconfig.harness.network import Network
from reconfig.harness.studies import outlook
from reconfig.harness.studies.outlook import Outlook
from reconfig.harness.watching import Rates

SETTING = Setting(
    data=Data("digits", train_limit=70, test_limit=20, hold_out=16),
    train=Train(epochs=4, batch=16, attack=Attack(steps=1)),
    evaluate=Evaluate(attacks=("pgd20",)),
    compute=Compute(device="cpu"),
)


def jobs(folder: Path, count: int = 3) -> list[Job]:
    return [Job(Network("zoo:vgg11", gamma=number), SETTING, folder / str(number)) for number in range(1, count + 1)]


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_lies_between_is_by_multiply_adds(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large, middle = jobs(tmp_path)
    now = 1000.0
    monkeypatch.setattr(outlook.time, "monotonic", lambda: now)
    found = Outlook({small: 100, large: 500, middle: 300}, console)
    assert found.samples == [small, large]
    assert found.left() == ""
    found.tell([60.0, 180.0], 2)
    assert (
        said(console) == "takes 0:03:00 or less, by a timed batch: 3 trainings, 2 at a time\n"
    )  # (60 + 180 + 120) / 2
    now += 30
    assert found.left() == ", about 0:02:30 left"
    found.ended = 1
    assert found.left() == ", about 0:01:00 left"  # by what has ended: two more like it


def test_what_was_done_before_counts_no_more(tmp_path: Path, console: Console) -> None:
    (only,) = jobs(tmp_path, 1)
    only.folder.mkdir()
    (only.folder / "metrics.jsonl").write_text("".join(json.dumps({"epoch": epoch}) + "\n" for epoch in (1, 2, 3)))
    found = Outlook({only: 7}, console)
    assert found.samples == [only]
    found.tell([100.0], 8)
    assert said(console) == "takes 0:00:25 or less, by a timed batch: 1 training, 1 at a time\n"


def test_the_longest_alone_may_be_the_end(tmp_path: Path, console: Console) -> None:
    found = Outlook(dict(zip(jobs(tmp_path), (1, 2, 101), strict=True)), console)
    found.tell([None, 1000.0], 3)
    assert "takes 0:16:40" in said(console)
    nothing = Outlook(found.flops, console)
    nothing.tell([None, None], 3)
    assert nothing.left() == ""


def test_a_job_is_its_steps_its_selections_and_its_measures(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_json(tmp_path / "config.json", {})
    job = Job(Network("zoo:vgg11", "10-10-4", gamma=0.04), SETTING, tmp_path / "job")
    done = []
    monkeypatch.setattr(forecast, "seconds", lambda computer, work: done.append(work()) or 0.8)
    for room in (forecast, forecast.ahead.__globals__):
        target = room if isinstance(room, dict) else vars(room)
        monkeypatch.setitem(target, "timed", lambda *_: Rates(gradient=0.01, run=0.001))
    found = forecast.forecast(job, load_dataset(SETTING.data), machine)
    images = {"train": 48, "selection": 16, "test": 20}  # three batches of the 54 that are left
    step = 0.8 / 8
    judged = 20 * 0.01 + 2 * 0.001
    assert found == pytest.approx(
        4 * (images["train"] * step + images["selection"] * judged) + 2 * images["test"] * judged
    )
    assert len(done) == 1
    assert not job.folder.exists()
