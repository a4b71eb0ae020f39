"""A script's end, as it would be without us: its exit code, its traceback, its signal."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from reconfig.errors import ScriptError

_ROOM = Path(__file__).resolve().parent.parent
_OURS = (str(_ROOM / "scripts") + os.sep, str(_ROOM / "cli") + os.sep)
INTERRUPTED = 130


def run_to_end(program: Callable[[], None]) -> int:
    """Run a program; the exit code, which is 1 after an exception, whose traceback has been shown as Python shows it.

    After Ctrl-C the process dies of the signal when everything else at its end is done, as Python's own does.

    Raises:
        SystemExit: the program's own.
        ScriptError: there is no such program.
    """
    interrupted: list[bool] = []
    atexit.register(_die, interrupted)  # before whatever the program registers, so it comes after that
    try:
        program()
    except (SystemExit, ScriptError):
        raise
    except BaseException as error:
        _show(error)
        if not isinstance(error, KeyboardInterrupt):
            return 1
        interrupted.append(True)
        return INTERRUPTED
    return 0


def _show(error: BaseException) -> None:
    for link in _chain(error):
        link.__traceback__ = _without_ours(link.__traceback__)
    sys.excepthook(type(error), error, error.__traceback__)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    open_links: list[BaseException | None] = [error]
    while open_links:
        link = open_links.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            open_links += [link.__cause__, link.__context__]


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    frames = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_OURS):
            frames.append(trace)
        trace = trace.tb_next
    result = None
    for frame in reversed(frames):
        result = TracebackType(result, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return result


def _die(interrupted: list[bool]) -> None:
    if interrupted and os.name == "posix":
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
