"""The command ``reconfig``: one file a command, and nothing of torch before a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import TextIOWrapper

_NEEDED = ("tyro", "rich")  # what the extra `cli` brings


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line asks for.

    Args:
        argv: the arguments without the program's name; ``sys.argv``'s where left out.

    Returns:
        The exit code: 0 done, 1 an error of ours (its sentence is on stderr), 2 bad usage, 130 stopped.
    """
    try:
        from reconfig.cli.dispatch import dispatch
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        print(f"error: the command needs {error.name}: pip install 'robust-reconfig[cli]'", file=sys.stderr)
        return 1
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console that has no bars still gets the words
    return dispatch(sys.argv[1:] if argv is None else list(argv))
