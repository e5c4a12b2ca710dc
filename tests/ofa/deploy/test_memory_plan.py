"""Plans of memory: nothing overlaps, and nothing is wasted where blocks follow one another."""

from __future__ import annotations

import numpy as np
import pytest

from ofa.deploy.formats.tflite.memory_plan import Buffer, least_memory, plan_memory


def overlaps(buffers: list[Buffer], offsets: list[int]) -> bool:
    placed = list(zip(buffers, offsets, strict=True))
    return any(
        a.first <= b.last and b.first <= a.last and start < other + b.size and other < start + a.size
        for i, (a, start) in enumerate(placed)
        for b, other in placed[:i]
    )


def chain_of_blocks(rng: np.random.Generator, blocks: int) -> list[Buffer]:
    """Inverted bottlenecks: input, expanded, filtered, gate, gated, projected, sum with the input."""
    buffers, time = [Buffer(16 * int(rng.integers(1, 40)), 0, 7)], 0
    for _ in range(blocks):
        wide = 16 * int(rng.integers(20, 200))
        buffers += [Buffer(wide, time + 1, time + 2), Buffer(wide // 64 * 16 + 16, time + 2, time + 5)]
        buffers += [
            Buffer(16 * int(rng.integers(1, 9)), time + 3, time + 5),
            Buffer(wide // 64 * 16 + 16, time + 5, time + 6),
        ]
        buffers += [Buffer(16 * int(rng.integers(1, 40)), time + 6, time + 7)]
        buffers += [Buffer(16 * int(rng.integers(1, 40)), time + 7, time + 14)]
        time += 7
    return buffers


@pytest.mark.parametrize("seed", range(10))
def test_no_larger_than_what_is_alive_at_once(seed: int) -> None:
    buffers = chain_of_blocks(np.random.default_rng(seed), 12)
    offsets = plan_memory(buffers, 16)
    assert not overlaps(buffers, offsets)
    assert max(offset + buffer.size for buffer, offset in zip(buffers, offsets, strict=True)) == least_memory(buffers)


@pytest.mark.parametrize("seed", range(5))
def test_any_lifetimes_are_planned_within_a_few_percent_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 40, 60)
    last = first + rng.integers(0, 12, 60)
    buffers = [
        Buffer(16 * int(size), int(a), int(b)) for size, a, b in zip(rng.integers(1, 100, 60), first, last, strict=True)
    ]
    offsets = plan_memory(buffers, 16)
    assert not overlaps(buffers, offsets)
    assert all(offset % 16 == 0 for offset in offsets)
    used = max(offset + buffer.size for buffer, offset in zip(buffers, offsets, strict=True))
    assert least_memory(buffers) <= used <= 1.25 * least_memory(buffers)
