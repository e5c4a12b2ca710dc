"""Where the time of a training step goes on a CPU, and how far each kind of work is from its floor.

A step is what `ofa train` computes for a batch: forward and backward of some subnets, the optimiser. PyTorch's profiler
times its operations. The floor of each is the larger of two: its operations over the rate of a large matrix product, and its
bytes (a tensor read or written once per pass that the algorithm needs) over the rate of a large copy, both measured here.
Small maps stay in the cache, so bytes can go faster than the floor says. One JSON line per kind of work, one of the whole.

    OMP_NUM_THREADS=1 python benchmarks/profile_step.py --size 64
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from ofa import Subnet, Supernet, load_space
from ofa.measure.allocator import keep_freed_memory
from ofa.runs.recipe import OptimiserConfig
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import OpShape, walk
from ofa.training.optimiser import make_optimiser

MATRIX, COPIED = 1536, 2**26  # sides of a product; floats of a copy
BYTES = 4
KINDS = {
    "aten::native_batch_norm": "batch norm",
    "aten::native_batch_norm_backward": "batch norm",
    "aten::hardswish_": "activations",
    "aten::hardswish_backward": "activations",
    "aten::silu_": "activations",
    "aten::silu_backward": "activations",
    "aten::relu": "activations",
    "aten::clamp_min_": "activations",
    "aten::threshold_backward": "activations",
    "aten::addmm": "matrix products",
    "aten::mm": "matrix products",
}


def best_seconds(function: Callable[[], object], repeats: int = 7) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def machine() -> tuple[float, float]:
    """Operations per second of a matrix product, bytes per second (read and written) of a copy."""
    a = torch.randn(MATRIX, MATRIX)
    source, target = torch.randn(COPIED), torch.zeros(COPIED)
    return 2 * MATRIX**3 / best_seconds(lambda: a @ a), 2 * BYTES * COPIED / best_seconds(lambda: target.copy_(source))


def kind_of_conv(weight: Sequence[int], maps: Sequence[int]) -> str:
    """By the shape of its weight and of a map that it reads or writes."""
    if weight[1] == 1 and weight[0] > 1 and weight[2] > 1:
        return "depthwise convolutions"
    if maps[2] == 1 and maps[3] == 1:
        return "matrix products"  # behind a global pool
    return "1x1 convolutions" if weight[2] == 1 else "first convolution"


def kind_of(name: str, shapes: Sequence[Sequence[int]]) -> str:
    if name in ("aten::mkldnn_convolution", "aten::_slow_conv2d_forward", "aten::thnn_conv2d"):
        return kind_of_conv(shapes[1], shapes[0])
    if name == "aten::convolution_backward":
        return kind_of_conv(shapes[2], shapes[1])
    return KINDS.get(name, "optimiser" if name.startswith("Optimizer") else "rest")


def passes(op: OpShape) -> dict[str, tuple[float, float]]:
    """Operations and bytes of one image's forward and backward pass, by kind."""
    if op.kind not in ("conv", "linear"):
        return {}
    read, written = op.in_channels * op.in_size**2 * BYTES, op.out_channels * op.out_size**2 * BYTES
    weight = (op.out_channels, op.in_channels // op.groups, op.kernel, op.kernel)
    product = op.kind == "linear" or op.in_size == 1
    kind = "matrix products" if product else kind_of_conv(weight, (1, 1, op.in_size, op.in_size))
    # Forward: read, write. Gradient of the input: read the output's, write the input's. Of the weights: read both.
    work = {kind: (6.0 * op.macs, 3.0 * (read + written))}
    if op.norm:
        # Forward: read for the statistics; read and write. Backward: read input and gradient for two sums; read both, write.
        work["batch norm"] = 0.0, 8.0 * written
    if op.norm and op.activation != "none":
        work["activations"] = 0.0, 5.0 * written  # read and write; backward: read input and gradient, write
    return work


def floors(space: SearchSpace, subnets: Sequence[Subnet], images: int, rate: float, bandwidth: float) -> dict[str, float]:
    """Seconds of each kind of work, the optimiser apart: each operation at the rate that limits it."""
    total: Counter[str] = Counter()
    for subnet in subnets:
        for op in walk(space, subnet):
            for kind, (operations, moved) in passes(op).items():
                total[kind] += images * max(operations / rate, moved / bandwidth)
    return dict(total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mbv3-w1.0")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--subnets", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2, help="that are profiled, after one that warms up")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    keep_freed_memory()
    rate, bandwidth = machine()
    space = load_space(args.space)
    generator = torch.Generator().manual_seed(args.seed)
    supernet = Supernet(space, generator).to(memory_format=torch.channels_last)
    genes = space.sample(args.subnets, np.random.default_rng(args.seed))
    subnets = [replace(subnet, resolution=args.size) for subnet in space.decode(genes)]
    images = torch.randn(args.batch, space.in_channels, args.size, args.size, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, space.classes, (args.batch,), generator=generator)
    optimiser = make_optimiser(supernet, OptimiserConfig())

    def step() -> None:
        supernet.zero_grad(set_to_none=True)
        for subnet in subnets:
            F.cross_entropy(supernet(images, subnet, generator), labels, label_smoothing=0.1).backward()
        optimiser.step()

    step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as trace:
        for _ in range(args.steps):
            step()
    spent: Counter[str] = Counter()
    for event in trace.events():
        spent[kind_of(event.name, event.input_shapes)] += event.self_cpu_time_total / 1e6 / args.steps
    least = floors(space, subnets, args.batch, rate, bandwidth)
    trained = sum(parameter.numel() for parameter in supernet.parameters())
    least["optimiser"] = 5 * BYTES * trained / bandwidth  # weight and momentum read and written, gradient read
    whole = sum(spent.values())
    for kind, seconds in spent.most_common():
        floor = least.get(kind)
        far = None if floor is None else round(seconds / floor, 2)
        row = {"kind": kind, "ms": round(1e3 * seconds, 1), "share": round(seconds / whole, 3)}
        print(json.dumps(row | {"floor_ms": None if floor is None else round(1e3 * floor, 1), "times_the_floor": far}))
    facts = {name: getattr(args, name) for name in ("space", "size", "batch", "subnets", "threads")}
    rates = {"gflops": round(rate / 1e9, 1), "gb_per_s": round(bandwidth / 1e9, 1), "torch": torch.__version__}
    far = round(whole / sum(least.values()), 2)
    print(json.dumps(facts | rates | {"ms": round(1e3 * whole, 1), "times_the_floor": far}))


if __name__ == "__main__":
    main()
