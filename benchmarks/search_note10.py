"""Search with the published predictor and the published Note10 tables; prints one JSON line.

    python benchmarks/search_note10.py --reference ../shared/reference --limit-ms 20 --seed 0

`seconds` counts everything after the imports: reading the predictor and the tables of the five resolutions, building the
cost factors, and the search. `search_seconds` is the search alone. One thread: the matrices are small, and on two busy cores
OpenBLAS's second thread made the search four times slower.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np
import torch  # noqa: F401 - imported here so that the time of the import is not counted

from latency_tables import load_platform
from latency_tables.costs import Costs
from ofa.official import to_arch
from ofa.space import SearchSpace, load_space
from search import Evolution, Limit, Problem, load_predictor

RESOLUTIONS = (160, 176, 192, 208, 224)
BUDGET = 80_000


def main() -> None:
    """Run one search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="folder with predictors/ and tables/note10/")
    parser.add_argument("--limit-ms", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=BUDGET, help=f"predictions (default: {BUDGET})")
    args = parser.parse_args()

    started = time.perf_counter()
    space = load_space("mbv3-w1.2").restrict(resolutions=RESOLUTIONS)
    predictor = load_predictor(args.reference / "predictors" / "ofa_mbv3_w1.2_acc_predictor.pth", space)
    costs = note10(args.reference, space)
    limit = Limit("latency_ms", args.limit_ms, "note10")
    problem = Problem(space=space, predictor=predictor, costs={"note10": costs}, limits=[limit])
    costs.latency_ms(space.encode(space.largest()))  # builds the cost factors
    loaded = time.perf_counter()
    result = Evolution().search(problem, np.random.default_rng(args.seed), args.budget)
    finished = time.perf_counter()
    best = result.genes[:1]
    line = {
        "limit_ms": args.limit_ms,
        "seed": args.seed,
        "predicted_top1": float(problem.top1(best)[0]),
        "latency_ms": float(costs.latency_ms(best)[0]),
        "evaluations": result.evaluations,
        "seconds": round(finished - started, 3),
        "search_seconds": round(finished - loaded, 3),
        "arch": to_arch(space, space.decode(best)[0]),
    }
    print(json.dumps(line))


def note10(reference: Path, space: SearchSpace) -> Costs:
    """Costs from the tables of the space's resolutions; the others are not read."""
    with tempfile.TemporaryDirectory() as folder:
        for resolution in space.resolutions:
            name = f"{resolution}_lookup_table.yaml"
            (Path(folder) / name).symlink_to((reference / "tables" / "note10" / name).resolve())
        return load_platform(folder).costs(space)


if __name__ == "__main__":
    main()
