"""The C library's memory allocator: freed memory stays with the process, or goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Keep freed memory in this process, to be used again; True where the C library supports it (glibc does).

    By default glibc returns every freed block of more than 32 MB to the kernel. The next tensor of that size then costs a
    page fault and a cleared page for each 4 kB, which takes longer than many a layer (docs/training.md has figures). With
    this setting, the process may hold its peak memory until it ends.
    """
    mallopt = _function("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))  # no mmap per block; never trim


def return_freed_memory() -> None:
    """Give the pages of freed memory back to the kernel now, where the C library can; using them again costs page faults."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def _function(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it is another one than glibc, as musl."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
