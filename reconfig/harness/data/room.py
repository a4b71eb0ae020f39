"""How much memory there is for images."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_SYSTEM = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
"""Of a container, what it may use at most and uses now."""


def here() -> float:
    """Bytes of the machine's memory that are free for this process: its share, where several on one machine each hold
    all images.
    """
    return min(_machine(), _container()) / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def on_gpu() -> float | None:
    """Bytes that are free on the GPU, if there is one."""
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None


def _machine() -> float:
    """What can be had without swapping: what is free, and what only holds copies of files."""
    if _SYSTEM.exists():
        return 1024 * _number(_SYSTEM, "MemAvailable:")
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float("inf")


def _container() -> float:
    """The same within the limits of a container (cgroups, version 2)."""
    limit = _GROUP / "memory.max"
    if not limit.exists() or not limit.read_text().strip().isdecimal():
        return float("inf")
    used = int((_GROUP / "memory.current").read_text()) - _number(_GROUP / "memory.stat", "inactive_file")
    return int(limit.read_text()) - used


def _number(path: Path, name: str) -> int:
    return next((int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(f"{name} ")), 0)
