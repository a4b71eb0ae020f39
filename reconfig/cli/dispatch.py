"""From arguments to a command, and from what it raises to an exit code."""

from __future__ import annotations

import os
import sys
from functools import reduce
from operator import or_
from typing import Annotated, Any, NoReturn

import tyro

from reconfig.cli.commands import COMMANDS, Command
from reconfig.cli.raw import divide
from reconfig.errors import FrozenError, InputError, ReconfigError, StageError
from reconfig.networks.nearest import nearest
from reconfig.version import VERSION

_ABOUT = "Change the widths and depths of a convolutional network, after a plan."
_HERE: dict[type[ReconfigError], str] = {
    InputError: "; here that is --input 3x32x32 (channels, height, width)",
    StageError: "; here that is --stages layer1=1,layer2=2",
    FrozenError: "; here that is to leave --strict out",
}
"""How a command spells what an error says of the library's arguments."""
_CONFIG = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)


def dispatch(argv: list[str]) -> int:
    """Read ``argv`` and do what it says; the exit code."""
    try:
        code = read(argv)() or 0
        sys.stdout.flush()
    except ReconfigError as error:
        print(f"error: {error}{_HERE.get(type(error), '')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit as end:  # --help, bad usage that has been explained, or a script's own end
        return _code(end)
    return code


def _code(end: SystemExit) -> int:
    """The exit code that Python itself would give."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1


def read(argv: list[str]) -> Command:
    """The command that ``argv`` spells.

    Raises:
        SystemExit: 0 after --help, --version and completion scripts, 2 after bad usage.
    """
    name = argv[0] if argv else ""
    if name == "--version":
        print(VERSION)
        sys.exit(0)
    if name in COMMANDS:  # read alone, so that what is said of bad usage is about this command
        own, rest = divide(COMMANDS[name], argv[1:])
        command: Any = tyro.cli(COMMANDS[name], prog=f"reconfig {name}", args=own, config=_CONFIG)
        return command if rest is None else command.with_rest(tuple(rest))
    if name and not name.startswith("-"):
        _unknown(name)
    kinds: list[Any] = [
        Annotated[kind, tyro.conf.subcommand(known, prefix_name=False)] for known, kind in COMMANDS.items()
    ]
    return tyro.cli(reduce(or_, kinds), prog="reconfig", description=_ABOUT, args=argv, config=_CONFIG)


def _unknown(name: str) -> NoReturn:
    near = nearest(name, COMMANDS)
    meant = f"did you mean `reconfig {near[0]}`?" if near else f"there are {', '.join(COMMANDS)}"
    print(f"error: reconfig has no command {name!r}: {meant}", file=sys.stderr)
    sys.exit(2)
