"""What a training frees, it wants back a moment later: the C library is told to keep it."""

import ctypes
import sys

TRIM, MMAP = -1, -3
"""`M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of glibc's malloc.h."""
KEPT, LARGEST = 2**31 - 1, 2**28
"""Bytes that stay with the process when they are free, and those of a block above which it goes back all the same."""


def keep_freed_memory() -> None:
    """For the rest of the process; where there is no glibc, nothing changes.

    Otherwise glibc gives much of it back to the system at the end of each step, and has it zeroed page by page in the
    next: thousands of page faults a step (benchmarks/memory.py).
    """
    if sys.platform != "linux" or not hasattr(library := ctypes.CDLL(None), "mallopt"):
        return
    library.mallopt(TRIM, KEPT)
    library.mallopt(MMAP, LARGEST)
