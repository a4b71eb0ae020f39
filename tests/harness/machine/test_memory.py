"""Freed memory stays while it is asked to, and no longer."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from reconfig.harness.machine.memory import kept

LARGE = 40 * 2**20


def faults() -> int:
    """Pages that the system gave for three large tensors, one after the other freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        torch.zeros(LARGE // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is not glibc's")
def test_freed_memory_is_used_again_within_and_not_after() -> None:
    with kept():
        faults()
        within = faults()
    assert within < 0.1 * faults()
