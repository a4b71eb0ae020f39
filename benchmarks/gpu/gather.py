"""Does as many items as fit into the minutes that there are, each as a command of its own."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from benchmarks.gpu.ledger import Held, Item, expected
from reconfig import ReconfigError
from reconfig.harness import files

ROOT = Path(__file__).resolve().parents[2]
_RESERVE = 25.0
"""Seconds at the end in which what was found is written and a command that is stopped may save."""
_GRACE = 15.0
"""Seconds that a command has after the signal that stops it."""
_LEAST = 45.0
"""Seconds that have to be left to go on with an item that can be divided: it has to load images first."""
_TRIES = 3
"""After so many failures an item is left alone."""

Say = Callable[[str], None]


class EvidenceError(ReconfigError):
    """A folder of evidence that cannot be used."""


def gather(
    items: Sequence[Item], folder: Path, data: str, minutes: float, say: Say, summarise: Callable[[], object]
) -> None:
    """Do the unfinished of ``items`` in their order, those that have failed before last, until ``minutes`` are over.

    ``summarise`` is called after each, and ``data`` says where the images are. An item that cannot be divided is begun
    only if it is expected to fit; the others go on for as long as there is time, and from there the next time.

    Raises:
        EvidenceError: If something else gathers in ``folder``.
    """
    deadline = time.monotonic() + 60 * minutes - _RESERVE
    with locked(folder) as lock:
        for item in items:
            Held(folder, item).recover()
        waiting = [item for item in items if not Held(folder, item).finished]
        for item in sorted(waiting, key=lambda item: Held(folder, item).failures()):
            held, left = Held(folder, item), deadline - time.monotonic()
            refused = _refused(item, items, folder, left)
            if refused is not None:
                say(f"{item.name}: {refused}")
                continue
            say(f"{item.name}: {item.about}")
            attempt = _attempt(held, _command(held, folder, data), deadline, lock)
            say(f"{item.name}: {attempt['ended']} after {attempt['seconds'] / 60:.1f} min, {held.part:.0%} done")
            summarise()


def _refused(item: Item, items: Sequence[Item], folder: Path, left: float) -> str | None:
    """Why ``item`` is not begun with ``left`` seconds, if it is not."""
    held = Held(folder, item)
    if held.failures() >= _TRIES:
        return f"has failed {_TRIES} times and is left alone; {held.folder / 'log.txt'} says why"
    missing = [name for name in item.needs if not (folder / name / "finished.json").exists()]
    if missing:
        return f"needs {', '.join(missing)} first"
    if item.progress is not None:
        return None if left >= _LEAST else f"not begun, with {max(left, 0) / 60:.1f} min left"
    wanted = expected(item, items, folder)
    if 60 * wanted.minutes > left:
        return f"takes about {wanted.minutes:.1f} min ({wanted.basis}), and {max(left, 0) / 60:.1f} are left"
    return None


def _attempt(held: Held, command: list[str], deadline: float, lock: IO[str]) -> dict[str, Any]:
    """Run ``command`` until it ends or the time is over."""
    held.out.mkdir(parents=True, exist_ok=True)
    record, began = {"at": datetime.now(UTC).isoformat(timespec="seconds")}, time.monotonic()
    with open(held.folder / "log.txt", "ab") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": _with_root(), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock.fileno()],  # so that the folder stays locked for as long as anything writes there
            process_group=0,
            preexec_fn=_can_be_stopped,
        )
        try:
            while True:
                files.write_json(held.folder / "running.json", record | {"seconds": time.monotonic() - began})
                try:
                    code = process.wait(min(1.0, max(deadline - time.monotonic(), 0.0)))
                    ended = "finished" if code == 0 else "failed"
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() >= deadline:
                        ended = "finished" if _stop(process) == 0 else "stopped"
                        break
        except BaseException:
            _stop(process)
            raise
    attempt = record | {"seconds": time.monotonic() - began, "ended": ended}
    if ended == "failed":
        attempt["why"] = f"exit code {process.returncode}: {_last_line(held.folder / 'log.txt')}"
    held.add(attempt)
    if ended == "finished":
        files.write_json(held.folder / "finished.json", {"minutes": held.minutes(), "at": record["at"]})
    return attempt


def _command(held: Held, folder: Path, data: str) -> list[str]:
    """The item's command, with the interpreter and the places that are here."""
    words = held.command()
    for mark, place in {"{folder}": str(folder.absolute()), "{data}": data}.items():
        words = [word.replace(mark, place) for word in words]
    return [sys.executable, *words]


def _with_root() -> str:
    before = os.environ.get("PYTHONPATH")
    return str(ROOT) if not before else os.pathsep.join([str(ROOT), before])


def _stop(process: subprocess.Popen[bytes]) -> int:
    """End a command, kindly first; its exit code."""
    process.send_signal(signal.SIGINT)
    try:
        code = process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        code = -signal.SIGKILL
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # and whatever it had started
    process.wait()
    return code


def _can_be_stopped() -> None:
    """Called in the new process: let it heed an interrupt, and Linux end it when the one that started it is gone.

    A shell has what it starts behind an ``&`` ignore interrupts, and so does all that is started from there.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it said nothing"


@contextmanager
def locked(folder: Path) -> Iterator[IO[str]]:
    """Keep ``folder`` for oneself, and for what one starts.

    Raises:
        EvidenceError: If another has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EvidenceError(f"something else gathers in {folder}; wait for it, or give another --out") from None
        yield file
