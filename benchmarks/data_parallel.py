"""A training step shared by two processes of one thread each, against one process of one thread, on the same global batch.

Two controls say what the machine allows: one process with half of the batch while the other core has nothing to do, and two
processes with half of the batch each that do not know of each other, at the same time. Their difference is what the cores
take from each other (memory bandwidth, cache, clock); no reduction can be faster than the second.

The processes stay up and take turns, one variant at a time; medians of the repeats are compared. The reduction of the
gradients is also timed alone. Weights and images are random: here only time is looked at (test_distributed.py compares
weights). Prints one JSON line,
which `simulate_cluster.py --check` compares with its model.

    OMP_NUM_THREADS=1 python benchmarks/data_parallel.py
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import torch

from ofa import Supernet, load_space
from ofa.data.config import DataConfig
from ofa.distributed.world import join
from ofa.measure.allocator import keep_freed_memory
from ofa.runs.recipe import Opens, OptimiserConfig, Phase, Recipe, opened_spaces
from ofa.training.optimiser import make_optimiser
from ofa.training.step import GradientStep

REDUCTIONS = 10  # of which the median is reported


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

    def ask(self, word: str) -> float:
        """Seconds of the slowest."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(word + "\n")
            process.stdin.flush()
        return max(float(process.stdout.readline()) for process in self.processes if process.stdout is not None)

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
        step = 0
        for word in map(str.strip, sys.stdin):
            start = time.perf_counter()
            if word == "end":
                break
            if word == "step":
                gradients(step, images, labels)
                optimiser.step()
                step += 1
            if word == "reduce":
                world.average_gradients(supernet, torch.zeros(()))
            print(time.perf_counter() - start, flush=True)


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
    groups = {
        "one": Group(1, args.batch),
        "two": Group(2, half),
        "half": Group(1, half),
        "unconnected": Group(2, half, connected=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in groups}
    for step in range(args.steps + 1):
        for name, group in groups.items():
            duration = group.ask("step")  # of the same subnets in both: they follow from the step
            if step > 0:  # the first warms up
                seconds[name].append(duration)
    reduction = float(np.median([groups["two"].ask("reduce") for _ in range(REDUCTIONS)]))
    for group in groups.values():
        group.end()
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    ratios = np.array(seconds["one"]) / np.array(seconds["two"])
    line = {
        "space": args.space,
        "batch": args.batch,
        "size": args.size,
        "subnets": args.subnets,
        "steps": args.steps,
        "synchronise_norms": args.synchronise_norms,
        "step_s": {name: round(value, 4) for name, value in median.items()},
        "steps_s": {name: [round(value, 4) for value in values] for name, values in seconds.items()},
        "speedup": round(float(np.median(ratios)), 3),
        "speedup_unconnected": round(float(np.median(np.array(seconds["one"]) / np.array(seconds["unconnected"]))), 3),
        "speedup_range": [round(float(ratios.min()), 3), round(float(ratios.max()), 3)],
        "reduction_s": round(reduction, 4),
        "gradient_mb": round(4e-6 * sum(p.numel() for p in Supernet(load_space(args.space)).parameters()), 1),
        "torch": torch.__version__,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
