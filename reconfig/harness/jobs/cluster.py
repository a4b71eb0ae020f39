"""Whether a Ray cluster answers at an address. Ray itself would wait for one for ever, and could not be stopped."""

from __future__ import annotations

import socket
import subprocess
import sys

from reconfig import ReconfigError

_PORT_SECONDS = 5
"""Within which a machine that is there accepts a connection."""
_CLUSTER_SECONDS = 30
"""Within which a cluster that is there lets a program in; it takes some seconds to import Ray."""
_CONNECT = """
import sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR", configure_logging=False)
except Exception as error:
    said = [(str(each).strip() or repr(each)).splitlines()[-1] for each in (error, error.__cause__) if each]
    sys.exit("; ".join(said))
"""


class ClusterError(ReconfigError):
    """A Ray cluster that does not answer."""


def check(address: str) -> None:
    """See that a Ray cluster answers at ``address`` (auto, HOST:PORT or ray://HOST:PORT), in half a minute at most.

    Raises:
        ClusterError: If none does.
    """
    wrong = _port(address) or _ray(address)
    if wrong is not None:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {wrong}. On its head node `ray start --head` begins one; --address"
            " takes the HOST:PORT that it prints, ray://HOST:10001, or auto on one of the cluster's machines; without"
            " it Ray runs on this machine alone"
        )


def _port(address: str) -> str | None:
    """What keeps a connection from the port that ``address`` names, if anything; most mistakes show here at once."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return None  # left to Ray
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PORT_SECONDS).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return None


def _ray(address: str) -> str | None:
    """What Ray says against ``address``, if anything: in a process of its own, which can be ended."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CONNECT, address], capture_output=True, text=True, timeout=_CLUSTER_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"Ray could not connect within {_CLUSTER_SECONDS} seconds"
    lines = done.stderr.strip().splitlines() or ["it ended without a word"]
    return lines[-1][:300] if done.returncode else None
