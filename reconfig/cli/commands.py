"""The table of commands.

To add one: a file here with a frozen dataclass, whose fields are its arguments (tyro reads them, their docstrings are
the help) and whose ``__call__`` does the work and returns an exit code or None; and its line below. Such a file imports
torch, and whatever brings it, in functions alone: ``--help`` waits for every file of the table. Errors of ours
(``ReconfigError``) are left to ``dispatch``. What a network prints belongs on stderr: make and run it within
``printing.aside()``. A command that takes the rest of the line as it stands (a script and the script's own arguments)
is a ``Raw``, see ``reconfig/cli/raw.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconfig.cli.apply import Apply
from reconfig.cli.count import Count
from reconfig.cli.draw import Draw
from reconfig.cli.export import Export
from reconfig.cli.plan import Plan
from reconfig.cli.rules import Rules
from reconfig.cli.run import Run
from reconfig.cli.stages import Stages

Command = Callable[[], int | None]

COMMANDS: Mapping[str, Callable[..., Command]] = {
    "stages": Stages,
    "plan": Plan,
    "draw": Draw,
    "apply": Apply,
    "export": Export,
    "run": Run,
    "count": Count,
    "rules": Rules,
}
