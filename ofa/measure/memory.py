"""What measurements may keep in memory: usual bounds, or what a limit on the whole process leaves (`--memory-mb`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ofa.errors import UserError
from ofa.measure.allocator import return_freed_memory
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import walk

STATM = Path("/proc/self/statm")
MB = 10**6
PARTS_OF_STARTS = 1.5
"""Memory for outputs of first blocks over their bound: two of at most a quarter each are in the making."""
COPIES_OF_OUTPUT = 4
"""Tensors of the size of an operation's input and output together, at once: .19 GB of a depthwise net, 32 px, batch 250."""


@dataclass(frozen=True, kw_only=True)
class Caches:
    """Most bytes of what an evaluator keeps between subnets."""

    images: int = 2**30
    """Prepared images of one split at one resolution; more are prepared anew each time."""
    all_images: int = 2**32
    """Prepared images of all splits and resolutions; the least recently used are dropped."""
    starts: int = 2**30
    """Outputs of first blocks, of all splits and resolutions."""


USUAL = Caches()
WITHOUT_STARTS = Caches(starts=0)
"""For a few subnets that are alike in little, as between epochs: sharing gains nothing there, and takes 1 GB."""


class MemoryLimit:
    """Most resident memory of this process, in MB of 10^6 bytes, into which caches are fitted.

    Nothing but caches gives way: where the rest does not fit, `tell` gets one line, once, and the work goes on.

    Args:
        mb: the limit; None: none.
        tell: takes the line.
    """

    def __init__(self, mb: float | None = None, tell: Callable[[str], None] = print) -> None:
        if mb is not None and not STATM.exists():
            raise UserError(f"--memory-mb is {mb:g}; it needs {STATM}, which only Linux has")
        self.mb, self._tell, self._told = mb, tell, False

    def caches(self, usual: Caches, working: int) -> Caches:
        """The bounds of caches: `usual`, or half of what is left for images and half for outputs of first blocks.

        Freed memory is given back to the system before it is counted; `working` are bytes that the work itself is going to
        take.
        """
        if self.mb is None:
            return usual
        return_freed_memory()
        half = max(0, int(self.mb * MB) - resident_bytes() - working) // 2
        return Caches(
            images=min(usual.images, half),
            all_images=min(usual.all_images, half),
            starts=min(usual.starts, int(half / PARTS_OF_STARTS)),
        )

    def let_go(self) -> None:
        """Give freed memory back to the system, where there is a limit."""
        if self.mb is not None:
            return_freed_memory()

    def check(self, work: str) -> None:
        """Tell, once, where the process holds more than the limit in `work`."""
        if self.mb is None:
            return
        held = resident_bytes() / MB
        if held > self.mb and not self._told:
            self._told = True
            self._tell(
                f"--memory-mb {self.mb:g} cannot be met: {held:.0f} MB are held in {work}, whatever is cached; smaller "
                "batches (batch_size, evaluation.batch_size) or activation_checkpointing take less"
            )


NO_LIMIT = MemoryLimit()


def resident_bytes() -> int:
    """Resident memory of this process, in bytes."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def working_bytes(space: SearchSpace, batch_size: int) -> int:
    """Bytes that a batch takes on its way through the largest subnet in evaluation, roughly."""
    sizes = [op.in_channels * op.in_size**2 + op.out_channels * op.out_size**2 for op in walk(space, space.largest())]
    return 4 * COPIES_OF_OUTPUT * batch_size * max(sizes)
