"""Answers for a fleet of 100,000 devices on ten platforms; prints one JSON line.

    python benchmarks/search_fleet.py --run runs/demo
    python benchmarks/search_fleet.py --reference ../shared/reference --resolutions 160 176 192 208 224

With a run it times the whole command `ofa query RUN --fleet FILE --no-verify`, from the start of the interpreter to its end.
With the reference it times the answers on `mbv3-w1.2`, whose accuracy model is stage-additive and fitted to the published
predictor. Limits are random: on latency, on latency and memory, on latency and (where the platform has one) energy; some are
out of reach. Some rows are compared with a search of their own.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np

from latency_tables import Costs, load_platform
from ofa.runs.run_files import RunFiles
from ofa.space.search_space import SearchSpace, load_space
from search import Infeasible, Limit, Predictor, Problem, load_predictor
from search.arrays import Floats
from search.fleet.answer import COST_COLUMNS, FleetAnswer, answer
from search.fleet.files import read_fleet
from search.predictors.ridge import fit_ridge
from search.searchers.exact import Exact

PLATFORMS = (
    "edge-int8",
    "eyeriss-like",
    "note10",
    "note8",
    "pixel1",
    "pixel2",
    "raspi4",
    "lg-g8",
    "s7-edge",
    "xeon-e5-2690v4",
)
KNOWN = (160, 176, 192, 208, 224)
ASKED = (("latency_ms",), ("latency_ms", "memory_kb"), ("latency_ms", "energy_mj"))


def main() -> None:
    """Make a fleet, answer it, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, help="a run directory with a predictor")
    source.add_argument("--reference", type=Path, help="folder with predictors/")
    parser.add_argument(
        "--resolutions", type=int, nargs="+", default=list(KNOWN), help="with --reference; some of 160 to 224"
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--compared", type=int, default=30, help="rows that are searched on their own too")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    space, predictor = of_run(args.run) if args.run else of_reference(args.reference, args.resolutions)
    costs = {name: load_platform(name).costs(space) for name in PLATFORMS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "devices.csv"
        write_rows(path, space, costs, args.rows, rng)
        line = {"space": space.name, "subnets": float(space.count()), "rows": args.rows, "platforms": len(PLATFORMS)}
        if args.run:
            line |= time_command(args.run, path)

        def problem(platform: str, confidence: float | None, limits: tuple[Limit, ...] = ()) -> Problem:
            return Problem(space=space, predictor=predictor, costs={platform: costs[platform].at(confidence)}, limits=limits)

        fresh = {name: load_platform(name).costs(space) for name in PLATFORMS}
        costs.update(fresh)  # without cost factors: building them counts
        started = time.perf_counter()
        fleet = read_fleet(path)
        result = answer(fleet, problem, np.random.default_rng(0), 20_000)
        line |= {"answer_seconds": round(time.perf_counter() - started, 2)}
    line |= {
        "out_of_reach": int((result.chosen < 0).sum()),
        "distinct_subnets": len(result.subnets),
        "surfaces": len(result.groups),
        "exact_surfaces": sum(group.surface.exact for group in result.groups),
        "largest_surface": max(len(group.surface.genes) for group in result.groups),
        **compare(result, problem, rng.integers(args.rows, size=args.compared)),
    }
    print(json.dumps(line))


def of_run(path: str | Path) -> tuple[SearchSpace, Predictor]:
    """A run's space and predictor."""
    space = RunFiles.open(path).space
    return space, load_predictor(path, space)


def of_reference(path: Path, resolutions: list[int]) -> tuple[SearchSpace, Predictor]:
    """The published space, and a stage-additive model of its published predictor."""
    whole = load_space("mbv3-w1.2")
    space, known = whole.restrict(resolutions=resolutions), whole.restrict(resolutions=KNOWN)
    published = load_predictor(path / "predictors" / "ofa_mbv3_w1.2_acc_predictor.pth", known)
    genes = space.sample(1000, np.random.default_rng(0))
    return space, fit_ridge(space, genes, published.top1(known.encode(space.decode(genes))))


def write_rows(path: Path, space: SearchSpace, costs: dict[str, Costs], count: int, rng: np.random.Generator) -> None:
    """Limits between a little below the cheapest subnet and the largest one."""
    ends = space.encode([space.smallest(), space.largest()])
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("device", "platform", *COST_COLUMNS))
        span = {
            (name, metric): cost.of(metric, ends)
            for name, cost in costs.items()
            for metric in COST_COLUMNS
            if metric in cost.metrics
        }
        for i in range(count):
            name = PLATFORMS[i % len(PLATFORMS)]
            asked = ASKED[rng.integers(3 if "energy_mj" in costs[name].metrics else 2)]
            row: list[object] = [f"device {i}", name]
            for metric in COST_COLUMNS:
                low, high = span.get((name, metric), (0.0, 0.0))
                row.append(f"{low * 0.98 + rng.random() * (high - low * 0.98):.6g}" if metric in asked else "")
            writer.writerow(row)


def time_command(run: Path, path: Path) -> dict[str, float]:
    """The whole command, three times; the median."""
    words = ["query", str(run), "--fleet", str(path), "--no-verify", "--json", "--out", str(path.with_name("answer.csv"))]
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ofa.cli.main", *words], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return {"command_seconds": round(sorted(seconds)[1], 2)}


def compare(result: FleetAnswer, problem: object, rows: Floats) -> dict[str, float]:
    """The largest difference from an exact search of the row alone."""
    assert callable(problem)
    worst, feasible = 0.0, 0
    for i in rows:
        fleet = result.fleet
        name = fleet.platforms[fleet.platform[i]]
        asked = np.flatnonzero(np.isfinite(fleet.bounds[i]))
        limits = [Limit(COST_COLUMNS[k], float(fleet.bounds[i, k]), name) for k in asked]
        try:
            best = Exact().search(problem(name, None, tuple(limits)), np.random.default_rng(0), 20_000).top1[0]
        except Infeasible:
            assert result.chosen[i] < 0
            continue
        feasible += 1
        worst = max(worst, abs(best - result.top1[result.chosen[i]]) if result.chosen[i] >= 0 else np.inf)
    return {"compared": len(rows), "compared_feasible": feasible, "largest_difference": worst}


if __name__ == "__main__":
    main()
