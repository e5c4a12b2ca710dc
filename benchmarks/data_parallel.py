"""A training step shared by two processes of one thread each, against one process of one thread, on the same global batch.

Two controls say what the machine allows: one process with half of the batch while the other core has nothing to do, and two
processes with half of the batch each that do not know of each other, at the same time. Their difference is what the cores
take from each other (memory bandwidth, cache, clock); no reduction can be faster than the second.

The two processes exchange gradients in one piece after the last subnet's backward pass, as all CPUs do; a third variant,
`during`, exchanges them in buckets while it computes, as GPUs do. The processes stay up and take turns, one variant at a
time; medians of the repeats are compared, and processor time, which includes the exchange. The exchange is also timed alone.
Weights and images are random: here only time is looked at (test_reduction.py compares gradients). Prints one JSON line,
which `simulate_cluster.py --check` compares with its model.

    OMP_NUM_THREADS=1 python benchmarks/data_parallel.py
    OMP_NUM_THREADS=1 python benchmarks/data_parallel.py --space fmnist --batch 8 --size 28 --subnets 2 --steps 2   # a trial
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from ofa import Supernet, load_space
from ofa.data.config import DataConfig
from ofa.distributed.reduction import averaged_after, averaged_during
from ofa.distributed.world import World, join
from ofa.measure.allocator import keep_freed_memory
from ofa.runs.recipe import Opens, OptimiserConfig, Phase, Recipe, opened_spaces
from ofa.training.optimiser import make_optimiser
from ofa.training.step import GradientStep

REDUCTIONS = 10  # of which the median is reported


class DuringWorld(World):
    """Ranks that exchange gradients while the last backward pass computes, on CPUs too."""

    @contextmanager
    def averaging(self, net: nn.Module, loss: Tensor, total: Tensor) -> Iterator[None]:
        """A block that computes gradients."""
        with averaged_during(net, loss, total, self.size, nullcontext):
            yield


class Group:
    """Processes that work at the same time, each a worker of this file on `batch` images of its own.

    Connected, they are one training; otherwise they do not know of each other.
    """

    def __init__(self, size: int, batch: int, connected: bool = True) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        world = {"WORLD_SIZE": str(size if connected else 1), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        self.processes = [
            subprocess.Popen(
                [sys.executable, __file__, *sys.argv[1:], "--worker", "--batch", str(batch)],
                env=os.environ | world | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(size)
        ]
        self.ask("ready")

    def ask(self, words: str) -> tuple[float, float]:
        """Seconds of the slowest process, and mean seconds of processor time."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(words + "\n")
            process.stdin.flush()
        answers = [process.stdout.readline().split() for process in self.processes if process.stdout is not None]
        wall, busy = (np.array(column, dtype=float) for column in zip(*answers, strict=True))
        return float(wall.max()), float(busy.mean())

    def end(self) -> None:
        """Wait until all have ended."""
        for process in self.processes:
            process.communicate("end\n")


def work(args: argparse.Namespace) -> None:
    """Answer each line on standard input with the seconds that it took."""
    torch.set_num_threads(1)
    space = load_space(args.space)
    phase = Phase(name="all", epochs=1, peak_lr=0.01, subnets_per_step=args.subnets, opens=Opens(everything=True))
    recipe = Recipe(
        space=args.space,
        data=DataConfig(source="none"),
        phases=(phase,),
        batch_size=args.batch,
        synchronise_norms=args.synchronise_norms,
    )
    keep_freed_memory()
    with join(torch.device("cpu")) as world:
        supernet = Supernet(space, torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
        if recipe.synchronise_norms:
            from ofa.training.synchronised_norm import synchronise_norms

            synchronise_norms(supernet, world)
        supernet.train()
        optimiser = make_optimiser(supernet, OptimiserConfig())
        gradients = GradientStep.of_phase(supernet, recipe, 0, opened_spaces(recipe, space)[0], world=world)
        generator = torch.Generator().manual_seed(world.rank)
        images = torch.randn(args.batch, space.in_channels, args.size, args.size, generator=generator)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.randint(space.classes, (args.batch,), generator=generator)
        during = DuringWorld(**{item.name: getattr(world, item.name) for item in fields(world)})
        steps = {"step": gradients, "during": replace(gradients, world=during)}
        for words in sys.stdin:
            word, _, number = words.strip().partition(" ")
            start, busy = time.perf_counter(), time.process_time()
            if word == "end":
                break
            if word in steps:
                steps[word](int(number), images, labels)
                optimiser.step()
            if word == "exchange":
                with averaged_after(supernet, torch.zeros(()), world.size, nullcontext):
                    pass
            print(time.perf_counter() - start, time.process_time() - busy, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mbv3-w1.0")
    parser.add_argument("--batch", type=int, default=64, help="images of all processes together")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--subnets", type=int, default=4)
    parser.add_argument("--steps", type=int, default=9, help="of each variant")
    parser.add_argument("--synchronise-norms", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(args)
    half = args.batch // 2
    one, two, alone = Group(1, args.batch), Group(2, half), Group(1, half)
    unconnected = Group(2, half, connected=False)
    variants = {
        "one": (one, "step"),
        "two": (two, "step"),
        "during": (two, "during"),
        "half": (alone, "step"),
        "unconnected": (unconnected, "step"),
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for step in range(args.steps + 1):
        for name, (group, word) in variants.items():
            found = group.ask(f"{word} {step}")  # of the same subnets in all: they follow from the step
            if step > 0:  # the first warms up
                measured[name].append(found)
    exchange = float(np.median([two.ask("exchange")[0] for _ in range(REDUCTIONS)]))
    for group in (one, two, alone, unconnected):
        group.end()
    seconds = {name: np.array(found)[:, 0] for name, found in measured.items()}
    busy = {name: np.array(found)[:, 1] for name, found in measured.items()}
    ratios = seconds["one"] / seconds["two"]
    line = {
        "space": args.space,
        "batch": args.batch,
        "size": args.size,
        "subnets": args.subnets,
        "steps": args.steps,
        "synchronise_norms": args.synchronise_norms,
        "step_s": {name: round(float(np.median(values)), 4) for name, values in seconds.items()},
        "steps_s": {name: values.round(4).tolist() for name, values in seconds.items()},
        "processor_s": {name: round(float(np.median(values)), 4) for name, values in busy.items()},
        "speedup": round(float(np.median(ratios)), 3),
        "speedup_range": [round(float(ratios.min()), 3), round(float(ratios.max()), 3)],
        "speedup_during": round(float(np.median(seconds["one"] / seconds["during"])), 3),
        "speedup_unconnected": round(float(np.median(seconds["one"] / seconds["unconnected"])), 3),
        "during_over_two": round(float(np.median(seconds["during"] / seconds["two"])), 4),
        "during_over_two_processor": round(float(np.median(busy["during"] / busy["two"])), 4),
        "reduction_s": round(exchange, 4),
        "gradient_mb": round(4e-6 * sum(p.numel() for p in Supernet(load_space(args.space)).parameters()), 1),
        "torch": torch.__version__,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
