"""Keep the memory that a process gave back, so that the next step of a training need not ask for it anew.

glibc returns every block of more than 32 MB to the system when it is freed, and what is free at the heap's end beyond
64 MB. A training step allocates hundreds of such blocks, and the system clears each page of them again: a quarter of
the processor time of a ResNet-18 in batches of 128. No number changes.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # malloc.h
_MEGABYTE = 2**20


@contextmanager
def kept() -> Iterator[None]:
    """Freed memory stays with the process while this is open, and goes back to the system afterwards.

    Does nothing where memory is not glibc's.
    """
    libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        # What glibc has come to by itself once a few large blocks were freed: it starts lower and adapts.
        libc.mallopt(_MMAP_MAX, 65536)
        libc.mallopt(_MMAP_THRESHOLD, 32 * _MEGABYTE)
        libc.mallopt(_TRIM_THRESHOLD, 64 * _MEGABYTE)
        libc.malloc_trim(0)
