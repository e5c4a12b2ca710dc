"""How good are the subnets of a supernet? Recipes against each other, the published package, and nets trained alone.

Everything is equal but the recipe (`quality/recipes.yaml`): the space (the published package's MobileNetV3, small), images,
order, augmentation, images seen, seeds. A job is one (recipe, data set, seed); it takes minutes on one core, leaves a JSON,
and is not repeated; stopped, it goes on when it is asked for again.

    ofa data fashion-mnist                                     # once
    tar xf cifar10-jpeg.tar.xz -C DIR                          # once: DIR/cifar10/{train,test}/CLASS/*.jpg
    python benchmarks/shrinking_quality.py run --out DIR --published-python ~/venv-published/bin/python
        [--jobs default default@2 published alone-0 alone-0-share ...] [--data fashion-mnist cifar10]
        [--cifar10 DIR/cifar10] [--seeds 0 1 2] [--seconds 280]
    python benchmarks/shrinking_quality.py table --out DIR [--against published@2]    # and DIR/quality.png

`NAME@2` is NAME with twice its learning rates; what is best is chosen by top-1 on validation images. `alone-0` to `alone-7`
are subnets trained alone on as many images as a supernet sees, `alone-0-share` on an eighth of them. `fashion-mnist-half`
has half as many images an epoch, to tune by; `cifar10-all` and `fashion-mnist-all` have all images, and all test images
measure a subnet. At full length, 40 epochs (`--times 1`, the default, is 8):

    python benchmarks/shrinking_quality.py run --out DIR --times 5 --data cifar10-all --cifar10 DIR/cifar10
        --jobs long published@2 progressive@2 alone-0 alone-3 alone-7 --alone-recipe long --published-python PYTHON

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
from quality.jobs import ALONE_SUBNETS, PUBLISHED, Setting, train_alone, train_ours, train_published
from scipy.stats import spearmanr

from ofa.files import schema
from ofa.files.atomic import read_json, write_json
from ofa.space.shapes import macs, walk

RECIPES = Path(__file__).with_name("quality") / "recipes.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run")
    run.add_argument("--published-python", help="interpreter of the published package's environment")
    run.add_argument("--jobs", nargs="+", help="default: all recipes, published, the nets alone")
    run.add_argument("--data", nargs="+", default=["fashion-mnist"])
    run.add_argument("--cifar10", help="image folder of CIFAR-10")
    run.add_argument("--seeds", nargs="+", type=int, default=[0])
    run.add_argument("--times", type=int, default=1, help="times the recipes' epochs (default: 1)")
    run.add_argument("--alone-recipe", default="default", help="how nets are trained alone (default: default)")
    run.add_argument("--seconds", type=float, default=280.0, help="begin no job later than this")
    report = verbs.add_parser("table")
    report.add_argument("--against", default="published", help="the job that others are compared with")
    for verb in (run, report):
        verb.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    raw = schema.load_yaml(RECIPES)
    if args.verb == "run":
        run_jobs(args, raw)
    else:
        rows = [read_json(path) for path in sorted((args.out / "results").glob("*.json"))]
        print(table(rows, args.against))
        plot(rows, Setting(raw, "fashion-mnist", 0, args.out), args.out / "quality.png")


def run_jobs(args: argparse.Namespace, raw: dict[str, Any]) -> None:
    """All jobs asked for that are not done, in order, until the time is up."""
    torch.set_num_threads(1)
    for data in raw["data"].values():
        data["source"] = args.cifar10 or data["source"] if data["source"] == "cifar10" else data["source"]
    alone = [f"alone-{index}{suffix}" for suffix in ("", "-share") for index in range(ALONE_SUBNETS)]
    jobs = args.jobs or [*raw["recipes"], *(PUBLISHED if args.published_python else ()), *alone]
    length = "" if args.times == 1 else f"-x{args.times}"
    begin = time.perf_counter()
    for seed, data, job in product(args.seeds, args.data, jobs):
        path = args.out / "results" / f"{data}{length}-{seed}-{job}.json"
        if path.exists():
            continue
        if time.perf_counter() - begin > args.seconds:
            print("time is up; the same command goes on")
            return
        start = time.perf_counter()
        setting = Setting(raw, data, seed, args.out, args.times, args.alone_recipe)
        result = do(job, setting, args.published_python)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"job": job, "data": data + length, "seed": seed} | result)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s, training {result['train_seconds']:.0f} s", flush=True)


def do(job: str, setting: Setting, published_python: str | None) -> dict[str, Any]:
    """One job's result."""
    name, _, rate = job.partition("@")
    factor = float(rate or 1)
    if name.startswith("alone-"):
        _, index, *share = name.split("-")
        return train_alone(setting, int(index), factor, share == ["share"])
    if name not in PUBLISHED:
        return train_ours(setting, name, factor)
    if published_python is None:
        raise SystemExit(f"job {job} needs --published-python")
    return train_published(setting, name, factor, published_python)


# -- report --------------------------------------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]], against: str) -> str:
    """Means over seeds in percent, with the deviation over seeds; differences are paired by seed."""
    return "\n".join(line for data in sorted({row["data"] for row in rows}) for line in table_of_data(rows, data, against))


def table_of_data(rows: list[dict[str, Any]], data: str, against: str) -> list[str]:
    """The lines of one data set: a header, a line per recipe, then the nets trained alone."""
    found = {(row["job"], row["seed"]): row for row in rows if row["data"] == data}
    supernets = {key: row for key, row in found.items() if "place" not in row}
    seeds = sorted({seed for _, seed in found})
    alone = {
        (share, seed): {
            row["place"]: row["top1"] for (_, of), row in found.items() if of == seed and row.get("share") == share
        }
        for share, seed in product((False, True), seeds)
    }
    lines = [
        f"\n{data}\n",
        f"| recipe | seeds | validation | 20 subnets | minus {against} | largest | smallest | 4 tied | rank correlation "
        "| minus alone, all images | minus alone, a share | train s |",
        "|---" * 12 + "|",
    ]
    for job in dict.fromkeys(job for job, _ in supernets):
        mine = {seed: row for (name, seed), row in supernets.items() if name == job}
        fixed = {seed: percent(row["top1"]["fixed"]) for seed, row in mine.items()}
        others = {seed: percent(row["top1"]["fixed"]) for (name, seed), row in supernets.items() if name == against}
        pairs = {
            share: [compare(mine[s]["top1"]["fixed"], alone[share, s]) for s in mine if alone[share, s]]
            for share in (False, True)
        }
        cells = [
            spread([percent(row["validation"]) for row in mine.values()]),
            spread(list(fixed.values())),
            spread([fixed[seed] - others[seed] for seed in fixed if seed in others]),
            *(spread([percent(row["top1"][name]) for row in mine.values()]) for name in ("largest", "smallest", "tied")),
            spread([rank for rank, _ in pairs[False]]),
            *(spread([gap for _, gap in pairs[share]]) for share in (False, True)),
            f"{np.mean([row['train_seconds'] for row in mine.values()]):.0f}",
        ]
        lines.append(f"| {job} | {len(mine)} | {' | '.join(cells)} |")
    for (share, seed), nets in alone.items():
        if nets:
            of = "a share of the images" if share else "all images"
            lines.append(f"\nalone on {of}, seed {seed}, {len(nets)} nets: mean {percent(list(nets.values())):.2f}")
    return lines


def compare(inherited: list[float], alone: dict[int, float]) -> tuple[float, float]:
    """Spearman's rank correlation of subnets alone with what they inherit; mean gap in points, inherited less alone."""
    places = sorted(alone)
    ours, theirs = [inherited[place] for place in places], [alone[place] for place in places]
    return float(spearmanr(ours, theirs).statistic), percent(ours) - percent(theirs)


def percent(shares: list[float]) -> float:
    """Their mean, in percent."""
    return 100 * float(np.mean(shares))


def spread(values: list[float]) -> str:
    """Mean and, of more than one, deviation; nothing of none."""
    if not values:
        return ""
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
            mean, deviation = 100 * np.mean(found, axis=0), 100 * np.std(found, axis=0, ddof=min(1, len(found) - 1))
            axis.plot(x, mean, marker=".", label=job)
            axis.fill_between(x, mean - deviation, mean + deviation, alpha=0.2)
        for share, marker in ((False, "x"), (True, "+")):
            alone = [(operations["fixed"][row["place"]], 100 * row["top1"]) for row in of_data if row.get("share") == share]
            if alone:
                label = "alone, a share of the images" if share else "alone, all images"
                axis.scatter(*zip(*alone, strict=True), color="black", marker=marker, label=label)
        axis.set(title=data, xlabel="million multiply-accumulates", ylabel="top-1 on test images, %")
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
