"""Memory that a network has freed is kept for its next layer, not given back to the system each time.

By default the C library gives large blocks back at once, and the system clears every page that it hands out again:
one pass of ``sam_tiny``'s encoder met 2000 page faults, which took 2 to 5 ms (``python -m bench.speed``).
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Numbers of glibc's ``mallopt``."""
LARGEST = 32 * 2**20
"""Bytes of the largest block that is kept; glibc allows no more."""
KEPT = 256 * 2**20
"""Bytes at the end of each heap that may lie idle."""


def keep_freed_memory() -> bool:
    """Tell the C library of this process; whether it is one that understands (glibc)."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl takes the call and ignores it
        return False
    settings = {
        _M_MMAP_THRESHOLD: LARGEST,
        _M_TRIM_THRESHOLD: KEPT,
        # a heap for each core, not for each thread: what one request has freed serves the next, in whatever thread
        _M_ARENA_MAX: max(2, os.cpu_count() or 1),
    }
    return all(library.mallopt(name, value) for name, value in settings.items())
