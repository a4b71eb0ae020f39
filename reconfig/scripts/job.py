"""What a run is asked to do, and what all of its processes share."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from reconfig.scripts.chosen import Chosen

if TYPE_CHECKING:
    from torch import nn

    from reconfig.planning.plan import Plan

_FOUND, _SAID = "found", "said"  # files in the folder that the processes share


@dataclass(frozen=True)
class Job:
    """What a run is asked to do; it is pickled into processes that the script spawns.

    Attributes:
        plan: makes the plan for a network.
        chosen: who makes the network; None where it is to be found.
        dry_run: whether to stop when the plan is there.
        command: the words of the command line up to the script, after "reconfig".
        script: the words from there on.
        folder: where the processes of this run tell each other what they found.
    """

    plan: Callable[[nn.Module], Plan]
    chosen: Chosen | None = None
    dry_run: bool = False
    command: tuple[str, ...] = ("run",)
    script: tuple[str, ...] = ()
    folder: str = ""

    def note_found(self) -> None:
        """A network was found, in this process."""
        Path(self.folder, _FOUND).touch()

    def found(self) -> bool:
        """Whether one was found in any process."""
        return Path(self.folder, _FOUND).exists()

    def say(self, text: str) -> None:
        """Tell the user, on stderr: what the processes of this run all find is told by the first of them alone."""
        if os.environ.get("RANK", "0") != "0":
            return
        try:
            Path(self.folder, f"{_SAID}-{sha256(text.encode()).hexdigest()}").touch(exist_ok=False)
        except FileExistsError:
            return
        print(text, file=sys.stderr, flush=True)

    def corrected(self, chosen: Chosen) -> str:
        """The same command line with ``chosen`` named."""
        words = list(self.command)
        while "--model" in words:
            at = words.index("--model")
            del words[at : at + 2]
        return shlex.join(["reconfig", *words, "--model", str(chosen), *self.script])
