"""Run a program from its first line to its exit code, on a rewritten network."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

from reconfig.errors import ScriptError
from reconfig.scripts.children import follow
from reconfig.scripts.ending import run_to_end
from reconfig.scripts.imports import when_imported
from reconfig.scripts.job import Job
from reconfig.scripts.program import Program

if TYPE_CHECKING:
    from reconfig.scripts.search import Search

_HELP = ("-h", "--help")


def run(program: Program, job: Job) -> int:
    """Run ``program`` as ``job`` says; the exit code: the program's own, 0 after a dry run.

    Meant for the one thing that a process does: ``__main__``, ``sys.argv`` and torch's modules stay changed.

    Raises:
        SystemExit: the program's own.
        ScriptError: there is no such program, no network was found in it, or several were.
        ReconfigError: the network cannot be planned or rewritten.
    """
    with tempfile.TemporaryDirectory(prefix="reconfig-", ignore_cleanup_errors=True) as folder:
        job = replace(job, script=program.words, folder=folder)
        searches = begin(job)
        follow(job, begin)
        try:
            code: object = run_to_end(program.execute)
        except SystemExit as end:
            code = end.code
        stopped = searches[0].stopped if searches else None
        if stopped is not None:  # whatever the script made of it
            if stopped.error is not None:
                raise stopped.error
            return 0
        if code in (None, 0) and not (job.found() or set(_HELP) & set(program.arguments)):
            raise (
                searches[0].nothing_found()
                if searches
                else ScriptError(f"{program} never imports torch, so there is no network in it to rewrite")
            )
    if isinstance(code, int):
        return code
    raise SystemExit(code)


def begin(job: Job) -> list[Search]:
    """Look for the network in this process as soon as torch is there; the search is in the list from then on."""
    searches: list[Search] = []

    def look() -> None:
        from reconfig.scripts.search import Search
        from reconfig.scripts.watching import watch

        searches.append(Search(job))
        watch(searches[0])

    when_imported("torch", look)
    return searches
