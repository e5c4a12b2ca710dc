"""How well each kind of predictor ranks subnets it has not seen, by the number it was fitted to; a JSON line per data set.

    ofa predictor runs/demo --samples 300
    python benchmarks/predictors.py --run runs/demo --reference ../shared/reference

A run: subnets of its measurements, top-1 on validation images; `noise` is what measuring them with so many images leaves
uncertain. `other_images`: fitted to the top-1 on one half of the images, against the top-1 of unseen subnets on the same
half and on the other. The published predictors of mbv3-w1.2 and resnet50 as the truth, without noise, are spaces that no run
here has.
Each figure is the mean of `--repeats` random choices of the subnets fitted to and of 100 (run) or 1,000 others.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np

from ofa.cli.shared.options import weights_digest
from ofa.runs.run_directory import RunDirectory
from ofa.space.search_space import Genes, SearchSpace, load_space
from search import load_predictor
from search.arrays import Floats
from search.measurements.log import MeasurementLog, sample_plan
from search.measurements.noise import measurement_noise
from search.predictors.kinds import KINDS
from search.predictors.published import RESOLUTIONS
from search.statistics import kendall_tau

PUBLISHED = {"mbv3-w1.2": "ofa_mbv3_w1.2_acc_predictor.pth", "resnet50": "ofa_resnet50_acc_predictor.pth"}


def main() -> None:
    """Print a line per data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run directory with at least 150 measured random subnets")
    parser.add_argument("--samples", type=int, default=300, help="of the run's random sample (default: 300)")
    parser.add_argument("--reference", type=Path, help="folder with predictors/")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(of_run(args.run, args.samples, args.repeats)), flush=True)
    for name, file in PUBLISHED.items() if args.reference else ():
        print(json.dumps(of_published(name, args.reference / "predictors" / file, args.repeats)), flush=True)


def of_run(path: Path, samples: int, repeats: int) -> dict[str, Any]:
    """The kinds on a run's measurements."""
    run = RunDirectory.open(path)
    genes = sample_plan(run.space, samples, np.random.default_rng(0))
    file = path / "predictor" / "measurements.jsonl"
    images = json.loads(file.read_text(encoding="utf-8").splitlines()[0])["images"]
    log = MeasurementLog.open(file, run.space, weights_digest(run), images)
    genes = genes[log.has(genes)]
    parts = log.by_group(genes)
    if parts is None:
        raise SystemExit(f"{file}: has no counts by parts of the images; measure again")
    top1, sizes = parts.mean(axis=1), [n for n in (50, 100, 200) if n <= len(genes) - 50]
    return {
        "data": path.name,
        "subnets": len(genes),
        "images": images,
        "top1_std": float(top1.std()),
        "noise": asdict(measurement_noise(parts, np.random.default_rng(0))),
        "kinds": kinds(run.space, genes, top1, sizes, 100, repeats),
        "other_images": other_images(run.space, genes, parts, sizes[-1], repeats),
    }


def of_published(name: str, file: Path, repeats: int) -> dict[str, Any]:
    """The kinds on a published predictor."""
    whole = load_space(name)
    space = whole.restrict(resolutions=[size for size in whole.resolutions if size in RESOLUTIONS[name]])
    genes = space.sample(2000, np.random.default_rng(0))
    top1 = load_predictor(file, space).top1(genes)
    return {
        "data": f"published predictor of {name}",
        "top1_std": float(top1.std()),
        "kinds": kinds(space, genes, top1, (50, 100, 200, 1000), 1000, repeats),
    }


def kinds(
    space: SearchSpace, genes: Genes, top1: Floats, sizes: Sequence[int], unseen: int, repeats: int
) -> dict[str, dict[str, dict[str, float]]]:
    """By kind and number fitted to: Kendall tau, mean absolute error, coverage, seconds of the fit."""
    table: dict[str, dict[str, dict[str, float]]] = {kind: {} for kind in KINDS}
    for size in sizes:
        for kind in KINDS:
            rows = [one(space, genes, top1, kind, size, unseen, seed) for seed in range(repeats)]
            table[kind][str(size)] = {key: round(float(np.mean([row[key] for row in rows])), 5) for key in rows[0]}
    return table


def one(space: SearchSpace, genes: Genes, top1: Floats, kind: str, size: int, unseen: int, seed: int) -> dict[str, float]:
    """One fit; the same seed gives every kind the same subnets."""
    order = np.random.default_rng(seed).permutation(len(genes))
    seen, rest = order[:size], order[size:][-unseen:]
    started = time.perf_counter()
    predictor = KINDS[kind].fit(space, genes[seen], top1[seen])
    seconds = time.perf_counter() - started
    predicted, std = predictor.top1(genes[rest]), predictor.std(genes[rest])
    error = np.abs(predicted - top1[rest])
    return {
        "kendall_tau": kendall_tau(predicted, top1[rest]),
        "mean_absolute_error": float(error.mean()),
        "within_1_std": float((error < std).mean()),
        "within_2_std": float((error < 2 * std).mean()),
        "fit_seconds": seconds,
    }


def other_images(space: SearchSpace, genes: Genes, parts: Floats, size: int, repeats: int) -> dict[str, float]:
    """Kendall tau of a predictor fitted on half of the images, on unseen subnets and either half."""
    found = []
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        columns, order = rng.permutation(parts.shape[1]), rng.permutation(len(genes))
        half = parts.shape[1] // 2
        same, other = parts[:, columns[:half]].mean(axis=1), parts[:, columns[half:]].mean(axis=1)
        seen, rest = order[:size], order[size:]
        predicted = KINDS["stage-additive"].fit(space, genes[seen], same[seen]).top1(genes[rest])
        found.append((kendall_tau(predicted, same[rest]), kendall_tau(predicted, other[rest])))
    same_tau, other_tau = np.mean(found, axis=0)
    return {"kendall_tau_same": float(same_tau), "kendall_tau_other": float(other_tau)}


if __name__ == "__main__":
    main()
