"""Places buffers with known lifetimes in one memory, so that the memory is no larger than the buffers alive at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_STEPS = 50_000
"""Steps of the search at one size; chains of blocks need about one step a buffer."""
GROWTH = 1.01


@dataclass(frozen=True, slots=True)
class Buffer:
    """A buffer that operations `first` to `last`, inclusive, use."""

    size: int
    first: int
    last: int


def least_memory(buffers: Sequence[Buffer]) -> int:
    """Size of the buffers alive at once, at the operation where that is most: no plan needs less."""
    times = range(max(buffer.last for buffer in buffers) + 1)
    return max(sum(buffer.size for buffer in buffers if buffer.first <= time <= buffer.last) for time in times)


def plan_memory(buffers: Sequence[Buffer], alignment: int) -> list[int]:
    """An offset for each buffer, such that no two that are alive together overlap.

    In the order of their first use, each buffer goes to an end of a gap between those still alive, the outermost first: the
    feature maps of a chain then lie at the bottom and the top in turn, and leave no unusable gap between them. A choice that
    leads to a dead end is taken back. Sizes must be multiples of the alignment.
    """
    size = least_memory(buffers)
    while True:
        offsets = _plan_within(buffers, size)
        if offsets is not None:
            return offsets
        size = -(-int(size * GROWTH) // alignment) * alignment


def _plan_within(buffers: Sequence[Buffer], size: int) -> list[int] | None:
    order = sorted(range(len(buffers)), key=lambda i: (buffers[i].first, -buffers[i].size))
    offsets = [0] * len(buffers)
    choices: list[list[int]] = []
    for _ in range(MOST_STEPS):
        if len(choices) == len(order):
            return offsets
        placed = order[: len(choices)]
        buffer = buffers[order[len(choices)]]
        alive = [(offsets[i], offsets[i] + buffers[i].size) for i in placed if buffers[i].last >= buffer.first]
        choices.append(_ends_of_gaps(sorted(alive), buffer.size, size))
        while choices and not choices[-1]:
            choices.pop()
            if choices:
                choices[-1].pop(0)
        if not choices:
            return None
        offsets[order[len(choices) - 1]] = choices[-1][0]
    return None


def _ends_of_gaps(taken: list[tuple[int, int]], wanted: int, size: int) -> list[int]:
    """Offsets at the ends of the gaps that are large enough, the outermost first."""
    found: set[int] = set()
    free_from = 0
    for start, end in [*taken, (size, size)]:
        if start - free_from >= wanted:
            found |= {free_from, start - wanted}
        free_from = max(free_from, end)
    return sorted(found, key=lambda offset: (min(offset, size - offset - wanted), offset))
