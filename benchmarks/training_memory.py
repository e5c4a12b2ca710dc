"""Memory and speed of a training under `--memory-mb`: processes take turns, one for each limit (0: none).

    OFA_DATA=data taskset -c 0 python benchmarks/training_memory.py --limits 0 1000
    ... --limits 0 1000 --test 4      then also what `result.json` is made of: subnets on the test images

A process takes so many steps of the recipe, measures what is measured after an epoch, and does both once more; its peak is
that of its whole life. Prints a JSON line for each process: processor milliseconds of a step (of the second round),
processor seconds of a measurement, resident MB (10^6 bytes) at the start, after the steps, after the measurement and at the
peak; at the end the medians, and the speed of an epoch with its measurement relative to the first limit.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Alternate, then summarise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=str(Path(__file__).resolve().parents[1] / "configs" / "cifar10.yaml"))
    parser.add_argument("--limits", type=float, nargs="+", default=[0, 1000], metavar="MB")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--test", type=int, default=0, metavar="N", help="measure N random subnets on test images too")
    parser.add_argument("--worker", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        print(json.dumps(work(args.recipe, args.worker, args.steps, args.test)))
        return
    found: dict[float, list[dict[str, Any]]] = {limit: [] for limit in args.limits}
    for _ in range(args.repeats):
        for limit, rows in found.items():
            words = [f"--{name}={getattr(args, name)}" for name in ("recipe", "steps", "test")]
            done = subprocess.run(
                [sys.executable, __file__, *words, f"--worker={limit}"], check=True, stdout=subprocess.PIPE
            )
            rows.append(json.loads(done.stdout))
            print(json.dumps({"limit_mb": limit} | rows[-1]), flush=True)
    medians = {limit: {key: statistics.median(row[key] for row in rows) for key in rows[0]} for limit, rows in found.items()}
    reference = medians[args.limits[0]]["epoch_s"]
    for limit, row in medians.items():
        print(json.dumps({"median of limit_mb": limit} | row | {"relative_epoch": round(row["epoch_s"] / reference, 4)}))


def work(recipe: str, limit_mb: float, steps: int, test: int) -> dict[str, Any]:
    """What one process does; returns its figures."""
    import numpy as np

    from ofa.measure.memory import MB, MemoryLimit, resident_bytes
    from ofa.runs.evaluator import evaluator_of_run
    from ofa.runs.recipe import load_recipe
    from ofa.runs.run_directory import RunDirectory, save_weights
    from ofa.training.schedule import resolution_of_step
    from ofa.training.step import GradientStep, descend
    from ofa.training.trainer import Trainer

    memory = MemoryLimit(limit_mb or None, lambda line: print(line, file=sys.stderr))
    held: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder) / "run", *load_recipe(recipe))
        trainer = Trainer(run, quiet=True, memory=memory)
        held["start_mb"] = resident_bytes() / MB
        trainer._enter_phase(0)
        opened, seed, size = trainer.opened[0], run.recipe.seed, run.recipe.batch_size
        gradients = GradientStep.of_phase(trainer.supernet, run.recipe, 0, opened)
        for part in range(2):
            begun = time.process_time()
            trainer.supernet.train()
            batches = trainer.data.batches(
                "train",
                batch_size=size,
                resolution=lambda i: resolution_of_step(opened, seed, 0, i),
                shuffle=True,
                augment=True,
                start=part * steps,
                drop_last=True,
            )
            for step, (images, labels) in zip(range(part * steps, (part + 1) * steps), batches, strict=False):
                gradients(step, images, labels)
                assert trainer.optimiser is not None
                descend(trainer.supernet, trainer.optimiser, 0.01, None)
                memory.check("a step of training")
            step_s = (time.process_time() - begun) / steps
            held["steps_mb"] = resident_bytes() / MB
            begun = time.process_time()
            trainer._measure(0, part)
            measured_s = time.process_time() - begun
            held["measured_mb"] = resident_bytes() / MB
        epoch_s = trainer.steps_per_epoch * step_s + measured_s
        figures = {"step_ms": 1e3 * step_s, "measured_s": measured_s, "epoch_s": epoch_s} | held
        if test:
            save_weights(Path(run.weights_path), trainer.supernet.state_dict())
            del trainer, gradients, batches, images, labels
            begun = time.process_time()
            evaluator = evaluator_of_run(run, memory=memory)
            evaluator.counts(run.space.decode(run.space.sample(test, np.random.default_rng(0))), "test")
            figures["test_s"] = time.process_time() - begun
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
    return {key: round(value, 3) for key, value in figures.items()}


if __name__ == "__main__":
    main()
