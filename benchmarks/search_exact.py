"""The exact front of mbv3-w1.2 with the published Note10 table, and the same by mixed-integer programming; one JSON line.

    python benchmarks/search_exact.py --reference ../shared/reference [--budgets 20]

The accuracy model is stage-additive: fitted to the published predictor at the resolutions that it knows. The program of
`scipy.optimize.milp` has one binary per resolution, stage and option (those that another one of the stage dominates in score
and latency are left out) and knows nothing of the exact search.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from latency_tables import load_platform
from ofa.space.search_space import load_space
from search import Limit, Problem, exact_front, load_predictor
from search.exact.stage_tables import StageTables
from search.pareto.nondominated import nondominated
from search.predictors.ridge import fit_ridge
from search.searchers.exact import Exact

KNOWN = (160, 176, 192, 208, 224)
ENERGY = "edge-int8"


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="folder with predictors/ and tables/note10/")
    parser.add_argument("--budgets", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    free = problem_of(args.reference)
    exact_front(free, "latency_ms", "note10")  # builds the cost factors
    seconds = []
    for _ in range(args.repeats):
        started = time.perf_counter()
        front = exact_front(free, "latency_ms", "note10")
        seconds.append(time.perf_counter() - started)

    score = free.predictor.score(front.genes)  # type: ignore[attr-defined]
    program = Program(free)
    gaps, milp_seconds = [], []
    for bound in np.linspace(front.cost[0] * 1.02, front.cost[-1], args.budgets):
        started = time.perf_counter()
        best = program.best(float(bound))
        milp_seconds.append(time.perf_counter() - started)
        gaps.append(abs(best - score[front.cost <= bound].max()))

    energy = free.cost("energy_mj", ENERGY, front.genes)
    two_seconds = []
    for share in (0.2, 0.4, 0.6):
        at = int(share * len(energy))
        limits = [Limit("latency_ms", float(front.cost[at]), "note10"), Limit("energy_mj", float(energy[at] * 0.97), ENERGY)]
        problem = Problem(space=free.space, predictor=free.predictor, costs=free.costs, limits=limits)
        started = time.perf_counter()
        result = Exact().search(problem, np.random.default_rng(0), 20_000)
        two_seconds.append(time.perf_counter() - started)
        assert result.optimal
    line = {
        "subnets": float(free.space.count()),
        "resolutions": len(free.space.resolutions),
        "front_points": len(front.genes),
        "front_seconds": round(statistics.median(seconds), 3),
        "milp_budgets": args.budgets,
        "milp_largest_gap": max(gaps),
        "milp_seconds_each": round(statistics.median(milp_seconds), 2),
        "latency_and_energy_seconds": [round(value, 3) for value in two_seconds],
    }
    print(json.dumps(line))


def problem_of(reference: Path) -> Problem:
    """A stage-additive model of the published predictor; the Note10's latency, and energy of a modelled accelerator."""
    whole = load_space("mbv3-w1.2")
    measured = {int(path.name.split("_")[0]) for path in (reference / "tables" / "note10").glob("*.yaml")}
    space = whole.restrict(resolutions=sorted(measured & set(whole.resolutions)))
    known = whole.restrict(resolutions=KNOWN)
    published = load_predictor(reference / "predictors" / "ofa_mbv3_w1.2_acc_predictor.pth", known)
    genes = known.sample(1000, np.random.default_rng(0))
    there = space.encode(known.decode(genes))
    model = fit_ridge(space, there, published.top1(genes))
    costs = {
        "note10": load_platform(reference / "tables" / "note10").costs(space),
        ENERGY: load_platform(ENERGY).costs(space),
    }
    return Problem(space=space, predictor=model, costs=costs)


class Program:
    """The best score under a limit on latency, as a mixed-integer linear program."""

    def __init__(self, problem: Problem) -> None:
        tables = StageTables(problem, [("latency_ms", "note10")])
        gains, costs, rows = [], [], []
        parts = len(tables.options)
        for r, resolution in enumerate(tables.resolutions):
            chain = tables.chain(resolution, [])
            for part, scores in enumerate(chain.scores):
                gain, cost = scores[0, 0], chain.costs[0][part][0, 0]
                kept = nondominated(gain, cost[None])
                gains.append(gain[kept])
                costs.append(cost[kept])
                rows.append(np.full(len(kept), r * parts + part))
        self.gains, self.costs = np.concatenate(gains), np.concatenate(costs)
        row = np.concatenate(rows)
        count = len(tables.resolutions)
        # Options of each part of a resolution add up to whether the resolution is chosen; one resolution is.
        chosen = np.arange(len(row), len(row) + count)
        picks = coo_array(
            (
                np.concatenate([np.ones(len(row)), -np.ones(count * parts), np.ones(count)]),
                (
                    np.concatenate([row, np.arange(count * parts), np.full(count, count * parts)]),
                    np.concatenate([np.arange(len(row)), np.repeat(chosen, parts), chosen]),
                ),
            )
        )
        wanted = np.zeros(count * parts + 1)
        wanted[-1] = 1.0
        self.one_each = LinearConstraint(picks.tocsr(), wanted, wanted)
        self.padding = np.zeros(count)

    def best(self, bound: float) -> float:
        """The highest score of a subnet that takes at most `bound` ms."""
        limit = LinearConstraint(np.concatenate([self.costs, self.padding])[None], -np.inf, bound)
        found = milp(
            -np.concatenate([self.gains, self.padding]),
            integrality=np.ones(len(self.gains) + len(self.padding)),
            bounds=Bounds(0, 1),
            constraints=[self.one_each, limit],
            options={"mip_rel_gap": 0.0},
        )
        assert found.success, found.message
        return float(-found.fun)


if __name__ == "__main__":
    main()
