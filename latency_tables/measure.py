"""Time modules on this machine: blocks and whole networks in random order, round after round, so that a drift of the machine
(clock, temperature, other processes) touches all of them alike. Torch is imported when measuring starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ofa.shapes import BlockShape, OpShape
from ofa.space import SearchSpace
from ofa.subnet import Subnet

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]
Call = Callable[[], Any]

RUNS_PER_VISIT = 5
"""Timed runs after one untimed run, each time a call's turn comes."""


def measure(calls: Sequence[Call], runs: int, rng: np.random.Generator, progress: bool = False) -> Floats:
    """Times of each call, float64[calls, runs], in ms; `runs` is rounded up to a multiple of `RUNS_PER_VISIT`."""
    import torch
    from tqdm import tqdm

    rounds = -(-runs // RUNS_PER_VISIT)
    times_ms = np.empty((len(calls), rounds * RUNS_PER_VISIT))
    with torch.inference_mode(), tqdm(total=(rounds + 1) * len(calls), unit="block", disable=not progress) as bar:
        for call in calls:  # warm-up: allocations, and the choice of kernels, happen here
            call()
            bar.update()
        for turn in range(rounds):
            bar.set_description(f"round {turn + 1}/{rounds}")
            for i in rng.permutation(len(calls)):
                times_ms[i, turn * RUNS_PER_VISIT : (turn + 1) * RUNS_PER_VISIT] = _visit(calls[i])
                bar.update()
    return times_ms


def _visit(call: Call) -> list[float]:
    call()
    times_ms = []
    for _ in range(RUNS_PER_VISIT):
        start = time.perf_counter_ns()
        call()
        times_ms.append((time.perf_counter_ns() - start) * 1e-6)
    return times_ms


def block_calls(shapes: Iterable[BlockShape], batch: int, channels_last: bool, rng: np.random.Generator) -> list[Call]:
    """One call per block. Blocks that differ in size alone share their weights, blocks with equal inputs share those."""
    import torch

    from ofa.static import build_block

    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    modules: dict[BlockShape, torch.nn.Module] = {}
    inputs: dict[tuple[int, int], torch.Tensor] = {}
    calls: list[Call] = []
    for shape in shapes:
        sizeless = _without_sizes(shape)
        if sizeless not in modules:
            modules[sizeless] = build_block(shape, generator)
        channels, size = shape.main[0].in_channels, shape.main[0].in_size
        if (channels, size) not in inputs:
            inputs[channels, size] = torch.randn(batch, channels, size, size, generator=generator)
        calls.append(_call(modules[sizeless], inputs[channels, size], channels_last))
    return calls


def network_calls(
    space: SearchSpace, subnets: Iterable[Subnet], batch: int, channels_last: bool, rng: np.random.Generator
) -> list[Call]:
    """One call per whole subnet, with fresh weights."""
    import torch

    from ofa.static import build_net

    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    calls = []
    for subnet in subnets:
        images = torch.randn(batch, space.in_channels, subnet.resolution, subnet.resolution, generator=generator)
        calls.append(_call(build_net(space, subnet, generator), images, channels_last))
    return calls


def _call(module: torch.nn.Module, images: torch.Tensor, channels_last: bool) -> Call:
    import torch

    layout = torch.channels_last if channels_last else torch.contiguous_format
    module = module.eval().to(memory_format=layout)  # type: ignore[call-overload]
    images = images.to(memory_format=layout)
    return lambda: module(images)


def _without_sizes(shape: BlockShape) -> BlockShape:
    def clear(ops: tuple[OpShape, ...]) -> tuple[OpShape, ...]:
        return tuple(replace(op, in_size=0, out_size=0) for op in ops)

    return replace(shape, main=clear(shape.main), shortcut=clear(shape.shortcut))
