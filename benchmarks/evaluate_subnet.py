"""Measuring subnets (extract, recalibrate batch norm, validate): ours against the published package's routine.

Both see the same subnets, the same number of images in batches of the same size, already in memory; they take turns, subnet
by subnet. Rates and ratios are of rounds over all subnets, and of these the medians, by the clock and by processor time (of
all threads; other work on the machine disturbs it less); a subnet's images are those of recalibration and of validation
together. Ours is measured in two ways: `ours` as the predictor's data is collected, where what subnets share at their start
is computed once in a round, and nothing is kept from one round to the next; `ours_alone` as if each subnet were the only one
(`--alone 0` leaves it out). Prints one JSON line.

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
import numpy.typing as npt
import torch
from train_step import SPACE, Published

from ofa import Subnet, Supernet, load_space, official
from ofa.data.batches import Data, load_data
from ofa.data.config import DataConfig
from ofa.measure.config import EvaluationConfig
from ofa.measure.evaluator import SubnetEvaluator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--recalibration", type=int, default=400, help="images")
    parser.add_argument("--validation", type=int, default=1000, help="images")
    parser.add_argument("--subnets", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3, help="rounds over all subnets")
    parser.add_argument("--alone", type=int, default=1, choices=(0, 1))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--published-python", required=True, help="interpreter of the published package's environment")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(args.seed)
    space = load_space(SPACE)
    genes = space.sample(args.subnets, rng)
    space.rows(genes).resolution[:] = 0  # it is --size
    ordered = space.decode(genes[np.lexsort(genes.T[::-1])])  # as the predictor's data is collected
    subnets = [replace(subnet, resolution=args.size) for subnet in ordered]
    supernet = Supernet(space, torch.Generator().manual_seed(args.seed)).to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        data = _data(Path(folder), args, rng)
    ours = {name: SubnetEvaluator(supernet, data, _config(args)) for name in ("ours", *["ours_alone"] * args.alone)}
    settings = {"batch": args.batch, "size": args.size, "threads": args.threads} | {
        "archs": [official.to_arch(space, subnet) for subnet in subnets],
        "recalibration": args.recalibration,
        "validation": args.validation,
    }
    published = Published(args.published_python, settings)
    for evaluator in ours.values():
        evaluator.top1(subnets[:1])  # prepares the images
    published.ask("evaluate 0")
    seconds = np.array([_round(ours, subnets, published) for _ in range(args.repeats)])  # rounds x ways x (clock, processor)
    rates = args.subnets * (args.recalibration + args.validation) / seconds
    line: dict[str, object] = {"space": SPACE}
    for name in ("size", "batch", "recalibration", "validation", "subnets", "repeats", "threads", "seed"):
        line[name] = getattr(args, name)
    for i, per in enumerate(("s", "processor_s")):
        line[f"images_per_{per}"] = dict(zip([*ours, "published"], np.median(rates[:, :, i], axis=0).round(1), strict=True))
    for i, name in enumerate(ours):
        faster = rates[:, i] / rates[:, -1]
        for by, values in zip(("clock", "processor"), faster.T, strict=True):
            line[f"{name}_over_published_{by}"] = np.median(values).round(2)
            line[f"{name}_over_published_{by}_range"] = [values.min().round(2), values.max().round(2)]
    print(json.dumps(line))


def _round(ours: dict[str, SubnetEvaluator], subnets: list[Subnet], published: Published) -> npt.NDArray[np.float64]:
    """Seconds of all subnets, by the clock and of processor time, float64[ways, 2]: ours, then the published package's."""
    seconds = np.zeros((len(ours) + 1, 2))
    for i, subnet in enumerate(subnets):
        for way, (name, evaluator) in enumerate(ours.items()):
            if name == "ours_alone" or i == 0:
                evaluator.top1([])  # lets go of what is kept
            start = time.perf_counter(), time.process_time()
            evaluator.correct(subnet)
            seconds[way] += time.perf_counter() - start[0], time.process_time() - start[1]
        seconds[-1] += published.ask(f"evaluate {i}"), published.processor_s
    return seconds


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
