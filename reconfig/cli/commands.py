"""The table of commands.

To add one: a file here with a frozen dataclass, whose fields are its arguments (tyro reads them, their docstrings are
the help) and whose ``__call__`` does the work and returns an exit code or None; and its line below. Such a file imports
torch, and whatever brings it, in functions alone: ``--help`` waits for every file of the table. Errors of ours
(``ReconfigError``) are left to ``dispatch``. A command that takes the rest of the line as it stands (a script and the
script's own arguments) is a ``Raw``, see ``reconfig/cli/raw.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconfig.cli.export import Export
from reconfig.cli.rules import Rules
from reconfig.cli.stages import Stages

Command = Callable[[], int | None]

COMMANDS: Mapping[str, Callable[..., Command]] = {
    "rules": Rules,
    "stages": Stages,
    "export": Export,
    # "run": Run,  of reconfig/cli/run.py, a Raw
}
