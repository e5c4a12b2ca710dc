"""Measuring a subnet (extract, recalibrate batch norm, validate): ours against the published package's routine.

Both see the same subnets, the same number of images in batches of the same size, already in memory; they take turns, and
medians are compared. Prints one JSON line; a subnet's images are those of recalibration and of validation together.

    python benchmarks/evaluate_subnet.py --published-python ~/venv-published/bin/python

The published package needs its own environment, see `train_step.py`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from train_step import SPACE, Published

from ofa import Supernet, load_space, official
from ofa.data import Data, DataConfig, load_data
from ofa.evaluation import SubnetEvaluator
from ofa.recipe import EvaluationConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--recalibration", type=int, default=400, help="images")
    parser.add_argument("--validation", type=int, default=1000, help="images")
    parser.add_argument("--subnets", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--published-python", required=True, help="interpreter of the published package's environment")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(args.seed)
    space = load_space(SPACE)
    subnets = [replace(subnet, resolution=args.size) for subnet in space.decode(space.sample(args.subnets, rng))]
    supernet = Supernet(space, torch.Generator().manual_seed(args.seed)).to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        evaluator = SubnetEvaluator(supernet, _data(Path(folder), args, rng), _config(args))
    settings = {"batch": args.batch, "size": args.size, "threads": args.threads} | {
        "archs": [official.to_arch(space, subnet) for subnet in subnets],
        "recalibration": args.recalibration,
        "validation": args.validation,
    }
    published = Published(args.published_python, settings)
    evaluator.top1(subnets[:1])  # prepares the images
    seconds: dict[str, list[float]] = {"ours": [], "published": []}
    for _ in range(args.repeats):
        for i, subnet in enumerate(subnets):
            start = time.perf_counter()
            evaluator.top1([subnet])
            seconds["ours"].append(time.perf_counter() - start)
            seconds["published"].append(published.ask(f"evaluate {i}"))
    images = args.recalibration + args.validation
    line = {name: getattr(args, name) for name in ("size", "batch", "recalibration", "validation", "subnets", "threads")}
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    print(
        json.dumps(
            {"space": SPACE}
            | line
            | {"images_per_s": {name: round(images / value, 1) for name, value in median.items()}}
            | {"ours_over_published": round(median["published"] / median["ours"], 3)}
        )
    )


def _data(folder: Path, args: argparse.Namespace, rng: np.random.Generator) -> Data:
    count = args.recalibration + args.validation
    images = rng.integers(0, 256, (count, args.size, args.size, 3), dtype=np.uint8)
    labels = np.arange(count) % 1000
    np.savez(folder / "random.npz", images=images, labels=labels)
    return load_data(DataConfig(source=str(folder / "random.npz"), validation=args.validation))


def _config(args: argparse.Namespace) -> EvaluationConfig:
    return EvaluationConfig(recalibration_images=args.recalibration, batch_size=args.batch)


if __name__ == "__main__":
    main()
