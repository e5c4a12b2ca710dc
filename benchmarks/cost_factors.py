"""How many subnets per second the cost factors evaluate, against a walk per subnet; prints one JSON line.

python benchmarks/cost_factors.py [--space mbv3-w1.2] [--platform edge-int8] [--metric latency_ms] [--confidence 0.9]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np

from latency_tables import METRICS, load_platform
from latency_tables.costs.lookup import Lookup
from ofa.space.search_space import load_space
from ofa.space.shapes import walk_blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="mbv3-w1.2")
    parser.add_argument("--platform", default="edge-int8")
    parser.add_argument("--metric", default="latency_ms", choices=METRICS)
    parser.add_argument("--confidence", type=float, help="the upper bound at this confidence, not the estimate")
    parser.add_argument("--subnets", type=int, default=1_000_000)
    parser.add_argument("--walked", type=int, default=300, help="subnets evaluated one by one, for comparison")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()

    space, rng = load_space(args.space), np.random.default_rng(0)
    genes = space.sample(args.subnets, rng)
    costs = load_platform(args.platform).costs(space, args.confidence)

    start = time.perf_counter()
    lookup: Lookup = costs.factors(args.metric).lookup
    build_s = time.perf_counter() - start

    seconds = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        values = costs.of(args.metric, genes)
        seconds.append(time.perf_counter() - start)

    reduce = max if METRICS[args.metric].reduce == "max" else sum
    start = time.perf_counter()
    subnets = space.decode(genes[: args.walked])
    walked = [
        reduce(costs.block(args.metric, block) for block in walk_blocks(space, subnet)) + costs.constant(args.metric)
        for subnet in subnets
    ]
    walk_s = (time.perf_counter() - start) / args.walked
    difference = float(np.max(np.abs(values[: args.walked] / walked - 1)))

    rate = args.subnets / statistics.median(seconds)
    result = {
        "space": args.space,
        "platform": args.platform,
        "metric": args.metric,
        "confidence": args.confidence,
        "subnets_per_s": round(rate),
        "subnets_per_s_best": round(args.subnets / min(seconds)),
        "walk_subnets_per_s": round(1 / walk_s),
        "speedup": round(rate * walk_s),
        "max_relative_difference": difference,
        "build_s": round(build_s, 3),
        "tables": len(lookup.terms),
        "table_entries": sum(term.values.size for term in lookup.terms),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
