"""From arguments to a command, and from what it raises to an exit code."""

from __future__ import annotations

import os
import sys
from functools import reduce
from operator import or_
from typing import Annotated, Any

import tyro

from reconfig.cli.commands import COMMANDS, Command
from reconfig.cli.raw import divide
from reconfig.errors import ReconfigError

_ABOUT = "Change the widths and depths of a convolutional network, after a plan."


def dispatch(argv: list[str]) -> int:
    """Read ``argv`` and do what it says; the exit code."""
    try:
        command = read(argv)
    except SystemExit as end:  # --help, or bad usage that tyro has explained
        return end.code if isinstance(end.code, int) else 1
    try:
        return command() or 0
    except ReconfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def read(argv: list[str]) -> Command:
    """The command that ``argv`` spells.

    Raises:
        SystemExit: 0 after --help, 2 after bad usage.
    """
    own, rest = divide(COMMANDS, argv)
    kinds: list[Any] = [
        Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)] for name, kind in COMMANDS.items()
    ]
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    command: Any = tyro.cli(reduce(or_, kinds), prog="reconfig", description=_ABOUT, args=own, config=config)
    return command if rest is None else command.with_rest(tuple(rest))
