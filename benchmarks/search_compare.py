"""Every searcher with the same number of evaluations on the Note10 problem of `search_exact.py`; prints one JSON line.

    python benchmarks/search_compare.py --reference ../shared/reference [--limit-ms 25] [--budget 1000] [--seeds 5]

The model is stage-additive, so the optimum is known; a searcher's figure is how far its best subnet is below it, in points
of predicted top-1 (median and worst of the seeds). Evaluations are subnets within the limit whose accuracy is predicted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np
from search_exact import problem_of

from search import Limit
from search.searchers.catalogue import find_searcher
from search.searchers.optuna_search import OptunaSearch

NAMES = ("exact", "evolution", "nsga2", "optuna:TPESampler", "optuna:NSGAIISampler", "random")


def main() -> None:
    """Search with every searcher and seed, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="folder with predictors/ and tables/note10/")
    parser.add_argument("--limit-ms", type=float, default=25.0)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--algorithms", nargs="+", default=NAMES, help=f"default: {' '.join(NAMES)}")
    args = parser.parse_args()

    problem = replace(problem_of(args.reference), limits=[Limit("latency_ms", args.limit_ms, "note10")])
    optimum = find_searcher("exact")[0].search(problem, np.random.default_rng(0), 1000).top1[0]
    found = {}
    for name in args.algorithms:
        algorithm, _, sampler = name.partition(":")
        searcher = OptunaSearch(sampler=sampler) if sampler else find_searcher(algorithm)[0]
        gaps, seconds, evaluations = [], [], []
        for seed in range(args.seeds):
            started = time.perf_counter()
            result = searcher.search(problem, np.random.default_rng(seed), args.budget)
            seconds.append(time.perf_counter() - started)
            gaps.append(100 * float(optimum - result.top1[0]))
            evaluations.append(result.evaluations)
        found[name] = {
            "points_below_optimum": [round(statistics.median(gaps), 3), round(max(gaps), 3)],
            "seconds": round(statistics.median(seconds), 2),
            "evaluations": max(evaluations),
        }
    print(json.dumps({"limit_ms": args.limit_ms, "budget": args.budget, "optimum": round(float(optimum), 6)} | found))


if __name__ == "__main__":
    main()
