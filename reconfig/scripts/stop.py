"""The end of a script that we end."""

from __future__ import annotations

from reconfig.errors import ReconfigError


class Stop(SystemExit):
    """Ends the script where it is; no ``except Exception`` of its own catches that.

    Attributes:
        error: why; None after a dry run. In a process that the script spawned its sentence is printed, and the exit
            code is 1.
    """

    def __init__(self, error: ReconfigError | None = None) -> None:
        super().__init__(f"error: {error}" if error else 0)
        self.error = error
