"""Search with the published predictor and the published Note10 tables; prints one JSON line.

    python benchmarks/search_note10.py --reference ../shared/reference --limit-ms 20 --seed 0
    python benchmarks/search_note10.py --reference ../shared/reference --all    # 20 seeds at eight limits
    python benchmarks/search_note10.py --reference ../shared/reference --all --seeds 100-119

`seconds` counts everything after the imports: reading the predictor and the tables of the five resolutions, building the
cost factors, and the search; `--all` does all of it anew for every line. `search_seconds` is the search alone,
`cpu_seconds` what of `seconds` the processor worked on it (less, where other work shares the core). One thread: the matrices
are small, and on two busy cores OpenBLAS's second thread made the search four times slower.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np
import torch  # noqa: F401 - imported here so that the time of the import is not counted

from latency_tables import load_platform
from latency_tables.costs.costs import Costs
from ofa.errors import UserError
from ofa.official import to_arch
from ofa.space.search_space import SearchSpace, load_space
from search import Limit, Problem, load_predictor
from search.searchers.evolution.evolution import Evolution

RESOLUTIONS = (160, 176, 192, 208, 224)
BUDGET = 170_000
GOALS = {15: 0.7879, 17: 0.7958, 20: 0.8078, 25: 0.8215, 30: 0.8300, 35: 0.8362, 40: 0.8412, 45: 0.8475}
"""Predicted top-1 to be reached, by the limit in ms."""
SEEDS = range(20)


def seeds(text: str) -> range:
    """The seeds of `FIRST-LAST`."""
    first, last = map(int, text.split("-"))
    return range(first, last + 1)


def main() -> None:
    """Run one search, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="folder with predictors/ and tables/note10/")
    parser.add_argument("--limit-ms", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true", help=f"all of --seeds at {', '.join(map(str, GOALS))} ms")
    parser.add_argument("--seeds", type=seeds, default=SEEDS, metavar="FIRST-LAST", help="for --all (default: 0-19)")
    parser.add_argument("--budget", type=int, default=BUDGET, help=f"predictions (default: {BUDGET})")
    args = parser.parse_args()
    if args.all == (args.limit_ms is not None):
        parser.error("give either --limit-ms or --all")
    if not args.all:
        try:
            print(json.dumps(run(args.reference, args.limit_ms, args.seed, args.budget)))
        except UserError as error:
            parser.error(str(error))
        return
    lines = []
    for limit in GOALS:
        for seed in args.seeds:
            lines.append(run(args.reference, limit, seed, args.budget))
            print(json.dumps(lines[-1]), flush=True)
    print(json.dumps(summary(lines)))


def run(reference: Path, limit_ms: float, seed: int, budget: int) -> dict[str, Any]:
    """Load everything and search once."""
    started, busy = time.perf_counter(), time.process_time()
    space = load_space("mbv3-w1.2").restrict(resolutions=RESOLUTIONS)
    predictor = load_predictor(reference / "predictors" / "ofa_mbv3_w1.2_acc_predictor.pth", space)
    costs = note10(reference, space)
    limit = Limit("latency_ms", limit_ms, "note10")
    problem = Problem(space=space, predictor=predictor, costs={"note10": costs}, limits=[limit])
    costs.latency_ms(space.encode(space.largest()))  # builds the cost factors
    loaded = time.perf_counter()
    result = Evolution().search(problem, np.random.default_rng(seed), budget)
    finished, busy = time.perf_counter(), time.process_time() - busy
    best = result.genes[:1]
    return {
        "limit_ms": limit_ms,
        "seed": seed,
        "predicted_top1": float(problem.top1(best)[0]),
        "latency_ms": float(costs.latency_ms(best)[0]),
        "evaluations": result.evaluations,
        "seconds": round(finished - started, 3),
        "search_seconds": round(finished - loaded, 3),
        "cpu_seconds": round(busy, 3),
        "arch": to_arch(space, space.decode(best)[0]),
    }


def summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """How many runs reach the goal and how long they take, by limit and in all."""
    limits = []
    for limit, goal in GOALS.items():
        own = [line for line in lines if line["limit_ms"] == limit]
        found = [line["predicted_top1"] for line in own]
        limits.append(
            {
                "limit_ms": limit,
                "goal": goal,
                "reach_it": sum(value >= goal for value in found),
                "missed_by_seeds": [line["seed"] for line in own if line["predicted_top1"] < goal],
                "worst": min(found),
                "best": max(found),
                **_seconds(own),
            }
        )
    return {
        "runs": len(lines),
        "reach_their_goal": sum(entry["reach_it"] for entry in limits),
        **_seconds(lines),
        "by_limit": limits,
    }


def _seconds(lines: list[dict[str, Any]]) -> dict[str, float]:
    result = {}
    for key in ("seconds", "cpu_seconds"):
        values = [line[key] for line in lines]
        result |= {f"median_{key}": round(statistics.median(values), 3), f"longest_{key}": max(values)}
    return result


def note10(reference: Path, space: SearchSpace) -> Costs:
    """Costs from the tables of the space's resolutions; the others are not read."""
    with tempfile.TemporaryDirectory() as folder:
        for resolution in space.resolutions:
            name = f"{resolution}_lookup_table.yaml"
            (Path(folder) / name).symlink_to((reference / "tables" / "note10" / name).resolve())
        return load_platform(folder).costs(space)


if __name__ == "__main__":
    main()
