"""Simulate data-parallel training on many GPUs: step time, what limits it, and what failures cost; prints a Markdown table.

Each simulated step follows what the trainer does: every rank waits for its decoded batch, then computes all subnets of the
step; all ranks average their gradients in buckets while the last subnet's backward pass computes, as GPUs do. So a step
takes the wait and the computing of the slowest rank, and what is left of the reduction then: the last bucket at least. Ranks
differ by jitter (lognormal) and by rare stragglers; a batch is decoded ahead by workers, whose mean rate is what the cores
give.
Training is interrupted by checkpoints and by machines that fail (exponential times); after a failure the work since the last
checkpoint is done again.

The reduction takes the faster of NCCL's two algorithms, by the usual cost model (Thakur, Rabenseifner, Gropp, 2005): a ring,
2 (N - 1) (latency + bytes / N / bandwidth), or a tree, 2 log2(N) latency + 2 bytes / bandwidth, over the slowest link.

    python benchmarks/simulate_cluster.py                                   # 8, 64, 512 GPUs, with the defaults below
    python benchmarks/simulate_cluster.py --step-ms 24 --inter-gbit-s 400     # a GPU ten times as fast, a faster network
    python benchmarks/simulate_cluster.py --buckets 1                       # exchanged after the backward pass, as on CPUs
    OMP_NUM_THREADS=1 python benchmarks/data_parallel.py > two.json && python benchmarks/simulate_cluster.py --check two.json

`--check` compares the model with two processes on this machine: its computing times are those of two processes that do not
know of each other, measured in the same minutes, and its reduction is the one that was timed alone. Both ways of exchanging
are checked.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

HOUR_S = 3600.0


@dataclass(frozen=True)
class Cluster:
    """Machines, their links and their faults; one rank per GPU."""

    ranks: int
    per_machine: int
    step_ms: float
    """Computing of one step on one GPU."""
    jitter: float
    """Standard deviation of the logarithm of a rank's computing time."""
    straggler_chance: float
    """Of a rank in a step."""
    straggler_factor: float
    subnets: int
    """Of a step, with equal shares of its computing."""
    buckets: int
    """In which gradients are exchanged; 1: all at once, when computing has ended."""
    gradient_mb: float
    intra_gbyte_s: float
    inter_gbit_s: float
    latency_us: float
    """Of one message between machines; a tenth of it inside one."""
    images: int
    """Per GPU and step."""
    decode_per_core: float
    """Images a second."""
    cores: float
    """Per GPU."""
    prefetch: int
    """Batches that are decoded ahead."""

    @property
    def machines(self) -> int:
        """Machines, the last perhaps not full."""
        return -(-self.ranks // self.per_machine)

    def reduction_ms(self) -> float:
        """Averaging the gradients over all ranks."""
        if self.ranks == 1:
            return 0.0
        across = self.machines > 1
        bytes_per_ms = (self.inter_gbit_s * 1e9 / 8 if across else self.intra_gbyte_s * 1e9) / 1000
        latency_ms = (self.latency_us if across else self.latency_us / 10) / 1000
        size, n = self.gradient_mb * 1e6, self.ranks
        ring = 2 * (n - 1) * (latency_ms + size / n / bytes_per_ms)
        tree = 2 * np.log2(n) * latency_ms + 2 * size / bytes_per_ms
        return float(min(ring, tree))

    def exposed_ms(self) -> float:
        """What is left of the reduction when computing has ended."""
        return exposed(self.reduction_ms(), self.step_ms, self.subnets, self.buckets)

    def steps_ms(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Durations of simulated steps, float64[count]."""
        decode_ms = 1000 * self.images / (self.decode_per_core * self.cores)
        exposed_ms = self.exposed_ms()
        ready = np.zeros((self.prefetch, self.ranks))  # when the batches in the queue are, or were, decoded
        now, ends = 0.0, np.empty(count)
        for step in range(count):
            waited = np.maximum(ready[step % self.prefetch], now)
            computing = self.step_ms * np.exp(rng.normal(0, self.jitter, self.ranks) - self.jitter**2 / 2)
            computing[rng.random(self.ranks) < self.straggler_chance] *= self.straggler_factor
            # The workers of a rank decode one batch after the other, and begin one when a place in the queue is free.
            free = np.maximum(ready[(step - 1) % self.prefetch], waited)
            ready[step % self.prefetch] = free + decode_ms * np.exp(rng.normal(0, self.jitter, self.ranks))
            now = float((waited + computing).max()) + exposed_ms
            ends[step] = now
        return np.diff(ends, prepend=0.0)[count // 10 :]  # without the first ones, when the queue fills


def exposed(reduction: float, step: float, subnets: int, buckets: int) -> float:
    """What is left of a reduction when computing has ended, where its buckets fill evenly in the last backward pass.

    A backward pass takes twice as long as its forward pass.
    """
    backward = step * 2 / 3 / subnets
    return max(reduction / buckets, reduction - backward * (1 - 1 / buckets))


@dataclass(frozen=True)
class Failures:
    """Checkpoints and failing machines."""

    machine_hours: float
    """Mean time between failures of one machine."""
    checkpoint_every_s: float
    checkpoint_s: float
    """To write one, while all ranks wait."""
    restart_s: float
    """From a failure to the first step: notice, schedule, start, read."""

    def hours(self, work_h: float, machines: int, runs: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Hours that training takes for so many hours of steps, float64[runs]."""
        period, cost = self.checkpoint_every_s / HOUR_S, self.checkpoint_s / HOUR_S
        taken = np.empty(runs)
        for run in range(runs):
            left, total = work_h, 0.0
            until_failure = rng.exponential(self.machine_hours / machines)
            while left > 0:
                piece = min(period, left)
                if until_failure >= piece + cost:
                    until_failure -= piece + cost
                    left, total = left - piece, total + piece + cost
                else:
                    total += until_failure + self.restart_s / HOUR_S
                    until_failure = rng.exponential(self.machine_hours / machines)
            taken[run] = total
        return taken


def check(path: Path, buckets: int) -> None:
    """Print the model's two processes beside the measured ones, for both ways of exchanging gradients."""
    measured = json.loads(path.read_text())
    seconds = {name: np.array(values) for name, values in measured["steps_s"].items()}
    apart, reduction = seconds["unconnected"], measured["reduction_s"]
    print(f"two processes, {measured['space']}, batch {measured['batch']}, {measured['size']} px, {len(apart)} steps:")
    for name, number, words in (
        ("two", 1, "after the backward pass"),
        ("during", buckets, f"in {buckets} buckets during it"),
    ):
        predicted = apart + exposed(reduction, float(np.median(apart)), measured["subnets"], number)
        speedup, ratio = np.median(seconds["one"] / seconds[name]), np.median(predicted / seconds[name])
        print(f"  gradients exchanged {words}:")
        print(f"    measured {np.median(seconds[name]):.3f} s a step, {speedup:.2f} times as fast as one")
        print(f"    model    {np.median(predicted):.3f} s: {ratio:.3f} of the measured (median of pairs)")


def main() -> None:
    """Simulate, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=Path, metavar="JSON", help="what data_parallel.py printed")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 8, 64, 512])
    parser.add_argument("--per-machine", type=int, default=8)
    parser.add_argument("--step-ms", type=float, default=242.0, help="4 x 3 x 20.2 ms: V100, batch 64 (HELP)")
    parser.add_argument("--jitter", type=float, default=0.03, help="of a rank's step (log)")
    parser.add_argument("--straggler-chance", type=float, default=1e-4)
    parser.add_argument("--straggler-factor", type=float, default=3.0)
    parser.add_argument("--subnets", type=int, default=4, help="of a step")
    parser.add_argument("--buckets", type=int, default=8, help="of gradients; 1: exchanged when computing has ended")
    parser.add_argument("--gradient-mb", type=float, default=42.9, help="4 bytes x 10.7 M parameters of mbv3-w1.2")
    parser.add_argument("--intra-gbyte-s", type=float, default=450.0, help="GB/s between GPUs of a machine")
    parser.add_argument("--inter-gbit-s", type=float, default=100.0, help="Gb/s between machines")
    parser.add_argument("--latency-us", type=float, default=20.0)
    parser.add_argument("--images", type=int, default=64, help="per GPU")
    parser.add_argument("--decode-per-core", type=float, default=200.0, help="images a second")
    parser.add_argument("--cores", type=float, default=12.0, help="per GPU")
    parser.add_argument("--prefetch", type=int, default=4)
    parser.add_argument("--dataset", type=int, default=1_270_000, help="images of an epoch")
    parser.add_argument("--epochs", type=float, default=590.0, help="180 + 120 + 145 + 145 of the published schedule")
    parser.add_argument("--machine-hours", type=float, default=5000.0, help="between failures of a machine")
    parser.add_argument("--checkpoint-every-s", type=float, default=600.0)
    parser.add_argument("--checkpoint-s", type=float, default=2.0)
    parser.add_argument("--restart-s", type=float, default=300.0)
    parser.add_argument("--steps", type=int, default=3000, help="to simulate")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.check is not None:
        return check(args.check, args.buckets)
    rng = np.random.default_rng(args.seed)
    failures = Failures(args.machine_hours, args.checkpoint_every_s, args.checkpoint_s, args.restart_s)
    print("| GPUs | step, ms (median, p99) | reduction (exposed), ms | images/s | of N times one GPU | training, h | lost |")
    print("|---|---|---|---|---|---|---|")
    for ranks in args.ranks:
        given = {name: getattr(args, name) for name in Cluster.__dataclass_fields__ if name != "ranks"}
        cluster = Cluster(ranks, **given)
        steps = cluster.steps_ms(args.steps, rng)
        rate = 1000 * args.images * ranks / steps.mean()
        work_h = args.dataset * args.epochs / rate / HOUR_S
        hours = failures.hours(work_h, cluster.machines, 20, rng).mean()
        step = f"{np.median(steps):.0f}, {np.percentile(steps, 99):.0f}"
        efficiency, lost = rate * args.step_ms / (1000 * args.images * ranks), 1 - work_h / hours
        cells = [
            ranks,
            step,
            f"{cluster.reduction_ms():.1f} ({cluster.exposed_ms():.1f})",
            f"{rate:,.0f}",
            f"{efficiency:.0%}",
            f"{hours:,.1f}",
            f"{lost:.1%}",
        ]
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
