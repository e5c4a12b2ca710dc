"""Multi-objective search against the exact front of mbv3-w1.2 with the published Note10 table; prints one JSON line.

    python benchmarks/search_front.py --reference ../shared/reference [--budget 50000] [--seeds 5]

The model and the table are those of `search_exact.py`. The hypervolume is of latency and predicted top-1; it ends at the
exact front's own worst values (its highest latency, its lowest top-1), so that only how well the front is covered counts.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np
from search_exact import problem_of

from search import Objective, exact_front
from search.pareto.domination import hypervolume
from search.searchers.catalogue import find_searcher


def main() -> None:
    """Search with every seed, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="folder with predictors/ and tables/note10/")
    parser.add_argument("--budget", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--algorithm", default="nsga2")
    args = parser.parse_args()

    free = problem_of(args.reference)
    exact = exact_front(free, "latency_ms", "note10")
    truth = np.stack([-exact.top1, exact.cost], axis=1)
    reference = truth.max(axis=0)
    whole = hypervolume(truth, reference)
    problem = replace(free, objectives=[Objective(), Objective("latency_ms", "note10")])
    searcher, _ = find_searcher(args.algorithm)
    shares, seconds, points = [], [], []
    for seed in range(args.seeds):
        started = time.perf_counter()
        result = searcher.search(problem, np.random.default_rng(seed), args.budget)
        seconds.append(round(time.perf_counter() - started, 2))
        shares.append(round(hypervolume(result.values * problem.signs, reference) / whole, 5))
        points.append(len(result.genes))
    line = {
        "algorithm": searcher.name,
        "budget": args.budget,
        "exact_points": len(exact.genes),
        "share_of_exact_hypervolume": shares,
        "points": points,
        "seconds": seconds,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
