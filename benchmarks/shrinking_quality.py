"""How good are the subnets of a supernet? Recipes against each other, the published package, and nets trained alone.

Everything is equal but the recipe (`quality/recipes.yaml`): the space (the published package's MobileNetV3, small), images,
order, augmentation, images seen, seeds. A job is one (recipe, data set, seed); it takes minutes on one core, leaves a JSON,
and is not repeated; stopped, it goes on when it is asked for again.

    ofa data fashion-mnist                                     # once
    tar xf cifar10-jpeg.tar.xz -C DIR                          # once: DIR/cifar10/{train,test}/CLASS/*.jpg
    python benchmarks/shrinking_quality.py run --out DIR --published-python ~/venv-published/bin/python
        [--jobs progressive sandwich published scratch-0 ...] [--data fashion-mnist cifar10] [--cifar10 DIR/cifar10]
        [--seeds 0 1 2] [--seconds 280]                        # begins no job after so many seconds
    python benchmarks/shrinking_quality.py table --out DIR     # table and DIR/quality.png of all that is there

The published package needs an environment of its own: `pip install --no-deps ofa`, torch, numpy, pyyaml, tqdm, pillow,
matplotlib.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality.jobs import SCRATCH_SUBNETS, Setting, train_ours, train_published, train_scratch
from scipy.stats import spearmanr

from ofa import schema
from ofa.files import read_json, write_json
from ofa.shapes import macs, walk

RECIPES = Path(__file__).with_name("quality") / "recipes.yaml"
PUBLISHED_RATES = {"published": 1.0, "published-half-rate": 0.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run")
    run.add_argument("--published-python", help="interpreter of the published package's environment")
    run.add_argument("--jobs", nargs="+", help="recipes, published, published-half-rate, scratch-0 to -7; default: all")
    run.add_argument("--data", nargs="+", default=["fashion-mnist"])
    run.add_argument("--cifar10", help="image folder of CIFAR-10")
    run.add_argument("--seeds", nargs="+", type=int, default=[0])
    run.add_argument("--seconds", type=float, default=280.0, help="begin no job later than this")
    for verb in (run, verbs.add_parser("table")):
        verb.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    raw = schema.load_yaml(RECIPES)
    if args.verb == "run":
        run_jobs(args, raw)
    else:
        rows = [read_json(path) for path in sorted((args.out / "results").glob("*.json"))]
        print(table(rows))
        plot(rows, Setting(raw, "fashion-mnist", 0, args.out), args.out / "quality.png")


def run_jobs(args: argparse.Namespace, raw: dict[str, Any]) -> None:
    """All jobs asked for that are not done, in order, until the time is up."""
    torch.set_num_threads(1)
    raw["data"]["cifar10"]["source"] = args.cifar10
    scratch = [f"scratch-{i}" for i in range(SCRATCH_SUBNETS)]
    jobs = args.jobs or [*raw["recipes"], *(PUBLISHED_RATES if args.published_python else ()), *scratch]
    begin = time.perf_counter()
    for seed, data, job in product(args.seeds, args.data, jobs):
        path = args.out / "results" / f"{data}-{seed}-{job}.json"
        if path.exists():
            continue
        if time.perf_counter() - begin > args.seconds:
            print("time is up; the same command goes on")
            return
        start = time.perf_counter()
        result = do(job, Setting(raw, data, seed, args.out), args.published_python)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"job": job, "data": data, "seed": seed} | result)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s, training {result['train_seconds']:.0f} s", flush=True)


def do(job: str, setting: Setting, published_python: str | None) -> dict[str, Any]:
    """One job's result."""
    if job in PUBLISHED_RATES:
        if published_python is None:
            raise SystemExit(f"job {job} needs --published-python")
        return train_published(setting, job, published_python, PUBLISHED_RATES[job])
    if job.startswith("scratch-"):
        return train_scratch(setting, int(job.removeprefix("scratch-")))
    return train_ours(setting, job)


# -- report --------------------------------------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> str:
    """Means over seeds in percent, with the deviation over seeds; rank correlation and gap against nets trained alone."""
    lines = []
    for data in sorted({row["data"] for row in rows}):
        of_data = [row for row in rows if row["data"] == data]
        alone = {
            seed: {row["place"]: row["top1"] for row in of_data if row["seed"] == seed and "place" in row}
            for seed in {row["seed"] for row in of_data}
        }
        lines += [
            f"\n{data}\n",
            "| recipe | seeds | 20 subnets | largest | smallest | 4 tied | rank correlation | minus alone | train s |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for job in dict.fromkeys(row["job"] for row in of_data if "place" not in row):
            found = [row for row in of_data if row["job"] == job]
            cells = [
                spread([100 * np.mean(row["top1"][name]) for row in found])
                for name in ("fixed", "largest", "smallest", "tied")
            ]
            pairs = [compare(row["top1"]["fixed"], alone[row["seed"]]) for row in found if len(alone[row["seed"]]) > 2]
            cells.append(spread([rank for rank, _ in pairs]) if pairs else "")
            cells.append(spread([100 * gap for _, gap in pairs]) if pairs else "")
            seconds = np.mean([row["train_seconds"] for row in found])
            lines.append(f"| {job} | {len(found)} | {' | '.join(cells)} | {seconds:.0f} |")
    return "\n".join(lines)


def compare(inherited: list[float], alone: dict[int, float]) -> tuple[float, float]:
    """Spearman's rank correlation of the subnets trained alone with what they inherit, and the mean gap (inherited less)."""
    places = sorted(alone)
    ours, theirs = [inherited[place] for place in places], [alone[place] for place in places]
    return float(spearmanr(ours, theirs).statistic), float(np.mean(ours) - np.mean(theirs))


def spread(values: list[float]) -> str:
    """Mean and, of more than one, deviation."""
    mean = f"{np.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.2f}"


def plot(rows: list[dict[str, Any]], setting: Setting, path: Path) -> None:
    """Top-1 over operations: of each recipe its subnets, mean over seeds, and the nets trained alone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    operations = {
        name: [macs(walk(setting.space, subnet)) / 1e6 for subnet in subnets] for name, subnets in setting.subnets.items()
    }
    names = sorted({row["data"] for row in rows})
    figure, axes = plt.subplots(1, len(names), figsize=(6 * len(names), 4.5), squeeze=False)
    for axis, data in zip(axes[0], names, strict=True):
        of_data = [row for row in rows if row["data"] == data]
        for job in dict.fromkeys(row["job"] for row in of_data if "place" not in row):
            order = ("smallest", "fixed", "largest")
            x = np.concatenate([operations[name] for name in order])
            found = [np.concatenate([row["top1"][name] for name in order]) for row in of_data if row["job"] == job]
            axis.plot(x, 100 * np.mean(found, axis=0), marker=".", label=job)
        alone = [(operations["fixed"][row["place"]], 100 * row["top1"]) for row in of_data if "place" in row]
        if alone:
            axis.scatter(*zip(*alone, strict=True), color="black", marker="x", label="trained alone")
        axis.set(title=data, xlabel="million multiply-accumulates", ylabel="top-1 on test images, %")
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
