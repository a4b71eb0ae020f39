"""Processes that a script spawns: they look for the network as well, once the script has been imported again."""

from __future__ import annotations

import multiprocessing.spawn
from collections.abc import Callable
from typing import Any

from reconfig.scripts.job import Job


def follow(job: Job, begin: Callable[[Job], object]) -> None:
    """Let every process that is spawned from here (or forked from a server) call ``begin`` with ``job`` when it starts.

    Such a process imports the script anew, under another name, in an interpreter that knows nothing of us. What it is
    sent before that is unpickled first, and this is what unpickles.
    """
    prepare: Callable[[str], dict[str, Any]] = multiprocessing.spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {"reconfig": _Begin(job, begin), **prepare(name)}

    multiprocessing.spawn.get_preparation_data = get_preparation_data


class _Begin:
    def __init__(self, job: Job, begin: Callable[[Job], object]) -> None:
        self._call = (begin, (job,))

    def __reduce__(self) -> tuple[Callable[[Job], object], tuple[Job]]:
        return self._call
