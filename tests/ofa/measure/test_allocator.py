"""Freed memory stays with the process: counted in page faults, in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys, torch
from ofa.measure.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def use(times):
    for _ in range(times):
        torch.zeros(10 * 2**20)  # 40 MB: 10,240 pages
use(30)  # the heap grows a few times until such a block fits
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use(10)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what: str) -> int:
    command = [sys.executable, "-c", COUNT_FAULTS, what]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_tensors_reuse_pages_that_were_freed() -> None:
    assert faults("leave") > 100_000
    assert faults("keep") < 50_000
