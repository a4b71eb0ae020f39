"""kill -9 at random moments, then ``--resume``: the same weights as a run that nobody killed."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from helpers.tiny_run import command, environment

from reconfig.harness import files

PATIENCE = 200.0
LONGER = ("--train.epochs", "30")


def whole(out: Path, *more: str) -> Path:
    """Run or resume to the end."""
    done = subprocess.run(command(out, *more), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(out.rglob("*" + files.UNFINISHED))
    return out


def checkpoints(out: Path) -> list[int]:
    """When each network was last saved."""
    paths = [out / place / "last.pt" for place in ("original", "variant")]
    return [path.stat().st_mtime_ns if path.exists() else 0 for path in paths]


def kill(out: Path, seconds: float | None, *more: str) -> None:
    """Begin or resume the run, let it save at least once, and kill it while it still runs.

    It dies so many ``seconds`` after that, wherever it is by then; None: while a file is being written.
    """
    before, deadline = checkpoints(out), time.monotonic() + PATIENCE
    process = subprocess.Popen(
        command(out, "--resume", *more),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while checkpoints(out) == before:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(seconds or 0)
        while seconds is None and not list(out.rglob("*" + files.UNFINISHED)):
            assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors


def assert_same(out: Path, other: Path) -> None:
    """Bitwise the same weights in every checkpoint, and the same table."""
    for path in ("original/last.pt", "original/best.pt", "variant/last.pt", "variant/best.pt"):
        first, second = (files.load_checkpoint(folder / path)["model"] for folder in (out, other))
        assert first.keys() == second.keys()
        for name, value in first.items():
            assert torch.equal(value, second[name]), f"{path}: {name}"
    assert (out / "table.md").read_text() == (other / "table.md").read_text()


@pytest.mark.slow
def test_killed_twice(tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    kill(killed, None)
    kill(killed, 0.02)
    assert_same(whole(killed, "--resume"), whole(tmp_path / "uninterrupted"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_ten_times(tmp_path: Path) -> None:
    killed, draws = tmp_path / "killed", random.Random(0)
    moments = [None] * 4 + [draws.uniform(0, 0.4) for _ in range(6)]
    draws.shuffle(moments)
    for moment in moments:
        kill(killed, moment, *LONGER)
    assert_same(whole(killed, "--resume", *LONGER), whole(tmp_path / "uninterrupted", *LONGER))
