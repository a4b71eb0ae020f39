"""How the commands begin and end: in an exit code, with an error or the way to go on in words."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import TypeVar

Wanted = TypeVar("Wanted")


def asked(read: Callable[[], Wanted]) -> Wanted:
    """What the command line asks for, by ``read``. Values that make no sense end the program: an error, exit code 2.

    Raises:
        SystemExit: for those.
    """
    try:
        return read()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def finish(work: Callable[[], object], *to_go_on: str) -> int:
    """Do ``work``; 0, 1 where it raised an error of ours, 130 where it was stopped.

    ``to_go_on`` are the arguments that the same command needs to go on with what was stopped.
    """
    from reconfig import ReconfigError  # only now, so that --help does not wait for torch

    try:
        work()
    except ReconfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped; to go on: {shlex.join(['python', *sys.argv, *to_go_on])}", file=sys.stderr)
        return 130
    return 0
