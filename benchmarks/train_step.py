"""A training step: ours against the same subnets as plain modules, and against the published package's step.

All variants take turns within the same minute; medians of the repeats are compared. Prints one JSON line.

    python benchmarks/train_step.py --published-python ~/venv-published/bin/python
    python benchmarks/train_step.py --device cuda --size 224 --batch 64 --precision bf16 --published-python PYTHON  # and 256

`--precision` is of ours and of the plain modules; the published step is float32, as published. On a GPU times are from CUDA
events, `host_s` is what Python needs to issue the work, `peak_mb` what a variant needs beside the weights that are there.
On a CPU `host_s` is processor time, of all threads, which other work on the machine disturbs less than the clock's time.

The published package needs its own environment: `pip install --no-deps ofa`, torch, numpy, pyyaml, tqdm, pillow, matplotlib.
Without `--published-python` only the plain modules are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ofa import Supernet, extract, load_space, official
from ofa.distributed.devices import choose_device
from ofa.measure.allocator import keep_freed_memory
from ofa.runs.recipe import PRECISIONS, OptimiserConfig
from ofa.training.optimiser import make_optimiser

SPACE = "mbv3-w1.0"


class Published:
    """The worker process of the published package."""

    def __init__(self, python: str, settings: dict[str, object]) -> None:
        worker = Path(__file__).with_name("published_worker.py")
        self.process = subprocess.Popen(
            [python, str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},  # its `ofa`, not ours
        )
        self._send(json.dumps(settings))

    def ask(self, request: str) -> float:
        """Seconds of what is asked for: `step`, or `evaluate INDEX` of a subnet; `processor_s` of it is then known too."""
        seconds, self.processor_s = map(float, self._send(request).split())
        return seconds

    def _send(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()


class Stopwatch:
    """Seconds and memory of work on a device."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.host_s: dict[str, list[float]] = {}

    def timed(self, name: str, function: Callable[[], None]) -> Callable[[], float]:
        """A function that runs `function` and gives its seconds, on a GPU between two events of its queue."""

        def run() -> float:
            begin, processor = time.perf_counter(), time.process_time()
            if not self.on_gpu:
                function()
                self.host_s.setdefault(name, []).append(time.process_time() - processor)
                return time.perf_counter() - begin
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            function()
            end.record()
            self.host_s.setdefault(name, []).append(time.perf_counter() - begin)
            end.synchronize()
            return float(start.elapsed_time(end)) / 1000

        return run

    def peak_mb(self, function: Callable[[], object]) -> float | None:
        """What `function` needs at most beside what is there already; None on a CPU, where nobody counts."""
        if not self.on_gpu:
            return None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--subnets", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--published-python", help="interpreter of the published package's environment")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    device = choose_device(args.device)
    if device.type == "cpu":
        keep_freed_memory()  # as training does
    space = load_space(SPACE)
    generator = torch.Generator().manual_seed(args.seed)
    supernet = Supernet(space, generator).to(device).to(memory_format=torch.channels_last)
    subnets = space.decode(space.sample(args.subnets, np.random.default_rng(args.seed)))
    images = torch.randn(args.batch, 3, args.size, args.size, generator=generator).to(memory_format=torch.channels_last)
    labels = torch.randint(0, space.classes, (args.batch,), generator=generator).to(device)
    images, generator = images.to(device), torch.Generator(device).manual_seed(args.seed)
    plain = [extract(supernet, subnet).to(memory_format=torch.channels_last).train() for subnet in subnets]
    optimiser = make_optimiser(supernet, OptimiserConfig())
    for group in optimiser.param_groups:
        group["lr"] = 1e-4

    def learn(compute: Callable[[], Tensor]) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
            logits = compute()
        F.cross_entropy(logits.float(), labels, label_smoothing=0.1).backward()

    def elastic() -> None:
        supernet.zero_grad()
        for subnet in subnets:
            learn(partial(supernet, images, subnet, generator))

    def static() -> None:
        for module in plain:
            module.zero_grad()
            learn(partial(module, images))

    def step() -> None:
        elastic()
        optimiser.step()

    watch = Stopwatch(device)
    ours = {"elastic": elastic, "static": static, "step": step}
    variants = {name: watch.timed(name, function) for name, function in ours.items()}
    if args.published_python:
        archs = [official.to_arch(space, subnet) for subnet in subnets]
        settings = {"batch": args.batch, "size": args.size, "threads": args.threads, "archs": archs, "device": str(device)}
        published = Published(args.published_python, settings)
        variants["published_step"] = lambda: published.ask("step")
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for repeat in range(args.repeats + 1):
        for name, variant in variants.items():
            duration = variant()
            if repeat > 0:  # the first round warms up
                seconds[name].append(duration)
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    host = {name: float(np.median(values[1:])) for name, values in watch.host_s.items()}
    line: dict[str, object] = {
        "space": SPACE,
        "batch": args.batch,
        "size": args.size,
        "subnets": args.subnets,
        "threads": args.threads,
        "device": torch.cuda.get_device_name(device) if watch.on_gpu else "cpu",
        "precision": args.precision,
        "images_per_s_per_subnet": round(args.batch * args.subnets / median["step"], 1),
        "peak_mb": {name: watch.peak_mb(function) for name, function in ours.items()} if watch.on_gpu else None,
        "host_s": {name: round(value, 4) for name, value in host.items()},
        "median_s": {name: round(value, 4) for name, value in median.items()},
        "range_s": {name: [round(min(values), 4), round(max(values), 4)] for name, values in seconds.items()},
        "elastic_over_static": round(median["elastic"] / median["static"], 3),
        "elastic_over_static_host": round(host["elastic"] / host["static"], 3),
    }
    if "published_step" in median:
        line["published_over_ours"] = round(median["published_step"] / median["step"], 3)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
