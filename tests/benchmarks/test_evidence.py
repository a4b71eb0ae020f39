"""Gathering evidence: what fits is done, in order, once, whatever is killed; and what must survive does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tyro

from benchmarks import attack, evidence, run, train_speed
from benchmarks.gpu import autoattack_speed, compare, correctness, gather, items, ledger, limits, together
from benchmarks.gpu.gather import EvidenceError
from benchmarks.gpu.ledger import Held, Item, expected
from reconfig.harness.studies import attack_later, comparison

COUNT = """
import sys, time, pathlib
out, goal, seconds = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
try:
    while (number := len(list(out.iterdir()))) < goal:
        time.sleep(seconds)
        (out / f"{number}").write_text("x")
        with open(out.parent / "log.txt", "a") as log:
            log.write(f"did {number}\\n")
except KeyboardInterrupt:
    sys.exit(130)
"""
"""A command that can be gone on with: so many files, each after so many seconds."""


def counting(name: str, goal: int, seconds: float = 0.0, **more: Any) -> Item:
    words = ["-c", COUNT, f"{{folder}}/{name}/out", str(goal), str(seconds)]
    return Item(name, "counts", lambda folder: words, 0.01, "a guess", progress=made(goal), **more)


def made(goal: int) -> Callable[[Path], float]:
    return lambda out: len(list(out.iterdir())) / goal


def whole(name: str, code: str, minutes: float = 0.01, **more: Any) -> Item:
    return Item(name, "a program", lambda folder: ["-c", code], minutes, "a guess", **more)


@pytest.fixture(autouse=True)
def _no_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "_RESERVE", 0.0)
    monkeypatch.setattr(gather, "_LEAST", 0.0)


def gathered(given: tuple[Item, ...], folder: Path, seconds: float = 30.0) -> list[str]:
    said: list[str] = []
    gather.gather(given, folder, "digits", seconds / 60, said.append, lambda: None)
    return said


# ---------------------------------------------------------------- what fits


def test_items_are_done_in_their_order_and_once(tmp_path: Path) -> None:
    given = (counting("one", 2), counting("two", 1))
    said = gathered(given, tmp_path)
    assert [line.split(":")[0] for line in said] == ["one", "one", "two", "two"]
    assert all(Held(tmp_path, item).finished for item in given)
    assert gathered(given, tmp_path) == []
    assert (tmp_path / "one" / "log.txt").read_text() == "did 0\ndid 1\n"


def test_one_that_is_stopped_by_the_clock_goes_on_the_next_time(tmp_path: Path) -> None:
    item = counting("slow", 40, 0.2)
    gathered((item,), tmp_path, 1.5)
    held = Held(tmp_path, item)
    (attempt,) = held.attempts()
    assert attempt["ended"] == "stopped"
    assert 0 < held.part < 1
    assert expected(item, (item,), tmp_path).basis.startswith("measured")
    gathered((item,), tmp_path)
    assert held.finished
    assert (held.folder / "log.txt").read_text() == "".join(f"did {number}\n" for number in range(40))


def test_one_is_stopped_in_the_background_of_a_shell_too(tmp_path: Path) -> None:
    """There interrupts are ignored, by what is started as well."""
    item = counting("slow", 100, 0.2)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        gathered((item,), tmp_path, 1.5)
    finally:
        signal.signal(signal.SIGINT, before)
    (attempt,) = Held(tmp_path, item).attempts()
    assert attempt["ended"] == "stopped"
    assert attempt["seconds"] < gather._GRACE


def test_one_that_cannot_be_divided_is_begun_only_if_it_fits(tmp_path: Path) -> None:
    (said,) = gathered((whole("long", "pass", minutes=5),), tmp_path, 10)
    assert said == "long: takes about 5.0 min (a guess), and 0.2 are left"
    assert not (tmp_path / "long").exists()


def test_one_that_fails_says_why_comes_last_and_is_left_alone_in_the_end(tmp_path: Path) -> None:
    given = (whole("bad", "raise SystemExit('no card')"), counting("good", 1))
    gathered(given, tmp_path)
    (attempt,) = Held(tmp_path, given[0]).attempts()
    assert attempt["why"] == "exit code 1: no card"
    assert Held(tmp_path, given[1]).finished
    assert "failed: exit code 1: no card" in ledger.summary(given, tmp_path)
    more = (given[0], counting("another", 1))
    assert [line.split(":")[0] for line in gathered(more, tmp_path)] == ["another", "another", "bad", "bad"]
    gathered(more, tmp_path)
    assert "has failed 3 times and is left alone" in gathered(more, tmp_path)[0]


def test_one_waits_for_what_it_needs(tmp_path: Path) -> None:
    assert gathered((counting("after", 1, needs=("before",)),), tmp_path) == ["after: needs before first"]


def test_the_first_attempt_chooses_the_command_and_places_may_change(tmp_path: Path) -> None:
    chosen = iter(["first", "second"])
    code = "import sys, pathlib; pathlib.Path(sys.argv[1], *sys.argv[2:4]).write_text(sys.argv[4]); sys.exit(1)"
    item = Item("one", "", lambda folder: ["-c", code, "{folder}", "one", next(chosen), "{data}"], 0.01, "")
    gathered((item,), tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    gathered((item,), tmp_path / "there")
    assert (tmp_path / "there" / "one" / "first").read_text() == "digits"
    assert not (tmp_path / "here").exists()


def test_two_cannot_gather_in_one_folder(tmp_path: Path) -> None:
    with gather.locked(tmp_path), pytest.raises(EvidenceError, match="something else gathers in"):
        gathered((), tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to end the command with its parent")
def test_a_kill_takes_the_command_with_it_and_loses_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from test_evidence import *;"
        "gather.gather((counting('slow', 6, 0.4),), Path(sys.argv[1]), '', 2, print, lambda: None)"
    )
    here = Path(__file__).resolve().parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(gather.ROOT), str(here)])}
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=environment)
    out = tmp_path / "slow" / "out"
    deadline = time.monotonic() + 60
    while not (out / "1").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.2)
    before = sorted(path.name for path in out.iterdir())
    time.sleep(1)
    assert sorted(path.name for path in out.iterdir()) == before  # its command is gone too
    assert 0 < len(before) < 6
    item = counting("slow", 6)
    gathered((item,), tmp_path)
    held = Held(tmp_path, item)
    assert [attempt["ended"] for attempt in held.attempts()] == ["killed", "finished"]
    assert held.attempts()[0]["seconds"] > 0
    assert (held.folder / "log.txt").read_text() == "".join(f"did {number}\n" for number in range(6))


# ---------------------------------------------------------------- what is expected


def enter(folder: Path, item: Item, seconds: float, finished: bool = True, ended: str = "finished") -> None:
    held = Held(folder, item)
    held.out.mkdir(parents=True)
    held.add({"seconds": seconds, "ended": ended})
    if finished:
        (held.folder / "finished.json").write_text("{}")


def test_minutes_come_from_the_pace_then_from_the_kind_then_from_the_estimate(tmp_path: Path) -> None:
    first = counting("first", 4, kind="row")
    second = counting("second", 4, kind="row")
    other = whole("other", "", minutes=7)
    given = (first, second, other)
    assert expected(other, given, tmp_path) == (7, "a guess")
    enter(tmp_path, first, 120)
    assert expected(second, given, tmp_path) == (2, "measured on first")
    enter(tmp_path, second, 60, finished=False, ended="stopped")
    (tmp_path / "second" / "out" / "0").write_text("x")
    assert expected(second, given, tmp_path) == (3, "measured: 25% in 1.0 min")
    enter(tmp_path, other, 600, finished=False, ended="stopped")
    assert expected(other, given, tmp_path) == (15, "not done in 10.0 min")
    shown = ledger.plan(given, tmp_path)
    assert "18.0   minutes to go" in shown
    assert "finished" in shown


def test_a_dry_run_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = evidence.Evidence(out=tmp_path / "evidence", dry_run=True)
    evidence.run(wanted, wanted.chosen())
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[1:-1]] == [item.name for item in wanted.chosen()]
    assert not (tmp_path / "evidence").exists()


def test_an_unknown_item_is_named() -> None:
    with pytest.raises(ValueError, match="no item is called spead; they are tests, correctness, speed-vgg11"):
        evidence.Evidence(Path("x"), only=("spead",)).chosen()


def test_the_part_of_a_row_counts_only_what_can_be_gone_on_with(tmp_path: Path) -> None:
    part = items.trained(2, 4)
    for name in ("original", "variant"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("{}\n{}\n")
    assert part(tmp_path) == 0  # a machine that keeps nothing lost the weights
    (tmp_path / "original" / "last.pt").touch()
    assert part(tmp_path) == pytest.approx(0.9 / 4)
    (tmp_path / "original" / "outcome.json").touch()
    assert part(tmp_path) == pytest.approx(0.5)


def test_the_quickest_way_becomes_options(tmp_path: Path) -> None:
    assert items.quickest(tmp_path, "vgg11") == ["--compute.channels-last", "--compute.precision", "bf16"]
    out = tmp_path / "speed-vgg11" / "out"
    out.mkdir(parents=True)
    ways = ["the paper's loop", "the harness", "TF32", "channels last", "bf16 autocast", "torch.compile"]
    rates = [1, 2, 4, 3, 9, 8]
    rows = [{"way": way, "images_per_second": rate} for way, rate in zip(ways, rates, strict=True)]
    (out / "vgg11-gpu.json").write_text(json.dumps({"rows": rows}))
    assert items.quickest(tmp_path, "vgg11") == ["--compute.precision", "bf16", "--compute.channels-last"]
    rows[-1]["images_per_second"] = 10
    (out / "vgg11-gpu.json").write_text(json.dumps({"rows": rows}))
    assert items.quickest(tmp_path, "vgg11")[-1] == "--compute.compile"


# ---------------------------------------------------------------- the commands that only a GPU would run


MODULES = {
    "benchmarks.gpu.correctness": correctness.Correctness,
    "benchmarks.gpu.limits": limits.Limits,
    "benchmarks.gpu.autoattack_speed": autoattack_speed.AutoAttackSpeed,
    "benchmarks.gpu.compare": compare.Rules,
    "benchmarks.gpu.together": together.Together,
}


@pytest.mark.parametrize("gpu", [True, False])
def test_every_command_is_understood(gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(comparison, "run", lambda experiment, **options: asked.append((experiment, options)))
    monkeypatch.setattr(attack_later, "run", lambda options: asked.append(options) or [])
    given = items.items(gpu)
    assert len({item.name for item in given}) == len(given)
    for item in given:
        words = gather._command(Held(tmp_path, item), tmp_path, "digits")[1:]
        monkeypatch.setattr(sys, "argv", words)
        if words[0] == "-m" and words[1] != "pytest":
            asked.append(tyro.cli(MODULES[words[1]], args=words[2:]))
        elif words[0] == "benchmarks/train_speed.py":
            asked.append(tyro.cli(train_speed.Speed, args=words[1:]))
        elif words[0] in ("benchmarks/run.py", "benchmarks/attack.py"):
            assert {"benchmarks/run.py": run, "benchmarks/attack.py": attack}[words[0]].main() == 0
        else:
            assert words[:4] == ["-m", "pytest", *items.TESTS]
            asked.append(words)
    assert len(asked) == len(given)
    for rules in (each for each in asked if isinstance(each, compare.Rules)):
        assert len(list(rules.sweep.configurations())) == 6
    if gpu:
        experiment, options = next(each for each in asked if isinstance(each, tuple))
        assert (experiment.train.epochs, experiment.seeds, options["resume"]) == (100, 3, True)
        assert set(experiment.evaluate.attacks) >= {"fgsm", "pgd20", "cw", "gama100", "aa"}
        assert experiment.evaluate.aa_images == 1000
        assert experiment.compute.precision == "bf16"


def test_tests_for_a_gpu_are_where_the_evidence_looks_for_them() -> None:
    marked = {
        path.relative_to(gather.ROOT).as_posix()
        for path in (gather.ROOT / "tests").rglob("test_*.py")
        if "@pytest.mark.gpu" in path.read_text(encoding="utf-8").replace(__doc__ or "", "")
    }
    assert marked - {"tests/benchmarks/test_evidence.py"} == set(items.TESTS)


def test_more_images_are_attacked_as_the_first_were(tmp_path: Path) -> None:
    """Shards of AutoAttack that were computed in another layout or form would be refused."""
    row, more = (next(item for item in items.items(True) if item.name == name) for name in ROW)
    speeds = tmp_path / "speed-vgg11" / "out"
    speeds.mkdir(parents=True)
    rows = [{"way": way, "images_per_second": rate} for rate, way in enumerate(["the paper's loop", *items._OPTIONS])]
    (speeds / "vgg11-gpu.json").write_text(json.dumps({"rows": rows[:-1]}))
    assert Held(tmp_path, row).command()[-4:] == [
        *("--compute.precision", "bf16", "--compute.channels-last", "--compute.compile")
    ]
    (speeds / "vgg11-gpu.json").unlink()  # what was chosen stays
    assert Held(tmp_path, more).command()[-2:] == ["--compute.channels-last", "--compute.compile"]


ROW = ("row-vgg11", "row-vgg11-autoattack")


def test_attempts_outlive_a_kill_between_their_files(tmp_path: Path) -> None:
    held = Held(tmp_path, counting("one", 1))
    held.folder.mkdir()
    (held.folder / "running.json").write_text(json.dumps({"at": "now", "seconds": 3.0}))
    held.recover()
    held.recover()
    assert ledger.read_lines(held.folder / "attempts.jsonl") == [{"at": "now", "seconds": 3.0, "ended": "killed"}]
