"""Runs command lines of reconfig in processes forked from this one, which has torch already: a second saved each.

Reads a line of JSON for each: its arguments, working directory, and files for what it prints; answers with its status.
"""

import json
import os
import sys

import fvcore.nn  # noqa: F401

import reconfig.cli.dispatch
import reconfig.planning.make


def serve() -> bool:
    """Answer until the end of stdin; True in a forked process, which has a command line to run."""
    for line in sys.stdin:
        order = json.loads(line)
        process = os.fork()
        if process == 0:
            os.chdir(order["folder"])
            for stream, descriptor in ((os.devnull, 0), (order["out"], 1), (order["err"], 2)):
                os.dup2(os.open(stream, os.O_RDWR | os.O_CREAT), descriptor)
            sys.argv[:] = ["reconfig", *order["words"]]
            return True
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return False


if __name__ == "__main__" and serve():
    sys.exit(reconfig.cli.main())
