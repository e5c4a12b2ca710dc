"""A setting of the C library's memory allocator: freed memory stays with the process."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Keep freed memory in this process, to be used again; True where the C library supports it (glibc does).

    By default glibc returns every freed block of more than 32 MB to the kernel. The next tensor of that size then costs a
    page fault and a cleared page for each 4 kB, which takes longer than many a layer (docs/training.md has figures). With
    this setting, the process may hold its peak memory until it ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library, as musl
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))  # no mmap per block; never trim
