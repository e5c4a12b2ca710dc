"""The closed loop: measure, fit, search the front, measure the front, fit again, so that a front consists of measured
subnets.

A search ends where a predictor is too optimistic; measuring the subnets found there corrects the predictor where it matters
(as in sequential model-based optimisation, Hutter et al., LION 2011). Seed and measurements decide everything, so after a
kill the same call takes the same path again, and subnets in the measurement log are not measured twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latency_tables import Costs
from latency_tables.metrics import METRICS
from ofa.errors import UserError
from ofa.space.search_space import Genes, SearchSpace
from search.arrays import Floats
from search.fronts.find import predicted_front
from search.pareto.front import front_order, hypervolume, thin
from search.predictors.selection import Selection
from search.problem.problem import Problem
from search.statistics import shown


@dataclass(frozen=True, kw_only=True)
class FrontTarget:
    """A front to be measured: accuracy against one cost."""

    metric: str
    platform: str
    costs: Costs

    @property
    def name(self) -> str:
        """The name in reports: `energy_mj on edge-int8`, or just `macs_m`, which is the same on all platforms."""
        return f"{self.metric} on {self.platform}" if METRICS[self.metric].on_platform else self.metric

    def cost(self, genes: Genes) -> Floats:
        """Cost of each subnet, float64[n]."""
        return self.costs.of(self.metric, genes)

    def front(self, genes: Genes, top1: Floats) -> tuple[Genes, Floats, Floats]:
        """Genes, cost and top-1 of the nondominated ones of some measured subnets, cost ascending."""
        cost = self.cost(genes)
        order = front_order(cost, top1)
        return genes[order], cost[order], top1[order]


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round, with everything measured by then; round 0 is the random sample."""

    number: int
    genes: Genes
    """Everything measured so far, int8[n, genes]; the random sample first."""
    top1: Floats
    """Measured."""
    new: int
    """Number of subnets measured in this round; they are the last rows."""
    predicted: Floats | None
    """Top-1 of the new subnets as predicted before they were measured; None in round 0."""
    selection: Selection
    """The predictor fitted to everything so far."""
    hypervolumes: Mapping[str, float]
    """Hypervolume of each target's measured front, in units of cost x top-1; the reference point is the sample's worst."""

    @property
    def optimism(self) -> float | None:
        """Mean of predicted minus measured top-1 of the new subnets; None in round 0."""
        return None if self.predicted is None else float((self.predicted - self.top1[-self.new :]).mean())

    @property
    def error(self) -> float | None:
        """Mean absolute difference of predicted and measured top-1 of the new subnets; None in round 0."""
        return None if self.predicted is None else float(np.abs(self.predicted - self.top1[-self.new :]).mean())

    def plain(self) -> dict[str, object]:
        """The round as JSON holds it."""
        return {
            "round": self.number,
            "measured": self.new,
            "kind": self.selection.predictor.kind,
            "kendall_tau": self.selection.report.kendall_tau,
            "predicted_error": self.error,
            "predicted_optimism": self.optimism,
            "hypervolume": dict(self.hypervolumes),
        }

    def line(self) -> str:
        """The round as a line of text."""
        selection = self.selection
        parts = [f"round {self.number}: {self.new} measured"]
        if self.optimism is not None and self.error is not None:
            parts.append(f"predicted {100 * self.error:.3f} points off, {100 * self.optimism:+.3f} on average")
        parts.append(f"tau {shown(selection.report.kendall_tau, '.3f')} ({selection.predictor.kind})")
        parts += [f"hypervolume {value:.5g} ({name})" for name, value in self.hypervolumes.items()]
        return "; ".join(parts)


def closed_loop(
    space: SearchSpace,
    targets: Sequence[FrontTarget],
    sample: Genes,
    measure: Callable[[Genes], Floats],
    fit: Callable[[Genes, Floats], Selection],
    rounds: int,
    points: int,
    seed: int,
) -> Iterator[Round]:
    """Run the rounds, one after the other; fewer when the fronts have nothing left to measure.

    Args:
        space: the space of the genes.
        targets: the fronts to measure, at least one.
        sample: subnets measured in round 0, int8[n, genes]; with the largest and the smallest subnet.
        measure: takes rows of genes, returns their measured top-1, float64[n].
        fit: takes all measured genes and their top-1, returns the fitted predictor.
        rounds: number of rounds after round 0.
        points: subnets to measure on each target's front in each round.
        seed: seed of the searches.

    Raises:
        UserError: a platform does not know its metric.
    """
    genes, top1 = sample, measure(sample)
    worst = {target.name: (float(target.cost(sample).max()), float(top1.min())) for target in targets}
    selection = fit(genes, top1)
    new, predicted = len(genes), None
    for number in range(rounds + 1):
        if number:
            chosen = _choose(space, targets, selection, genes, points, (seed, number))
            if not len(chosen):
                return
            predicted = selection.predictor.top1(chosen)
            new, genes = len(chosen), np.concatenate([genes, chosen])
            top1 = np.concatenate([top1, measure(chosen)])
            selection = fit(genes, top1)
        yield Round(
            number=number,
            genes=genes,
            top1=top1,
            new=new,
            predicted=predicted,
            selection=selection,
            hypervolumes={t.name: hypervolume(t.cost(genes), top1, *worst[t.name]) for t in targets},
        )


def _choose(
    space: SearchSpace,
    targets: Sequence[FrontTarget],
    selection: Selection,
    known: Genes,
    points: int,
    seed: tuple[int, int],
) -> Genes:
    """Rows to measure, distinct and new: spread over the unmeasured points of each target's predicted front."""
    taken = {row.tobytes() for row in known}
    chosen = []
    for index, target in enumerate(targets):
        problem = Problem(space=space, predictor=selection.predictor, costs={target.platform: target.costs})
        front = predicted_front(problem, target.metric, target.platform, np.random.default_rng([*seed, index]))
        fresh = np.flatnonzero([row.tobytes() not in taken for row in front.genes])
        if len(fresh):
            rows = front.genes[fresh[thin(front.cost[fresh], front.top1[fresh], points)]]
            taken.update(row.tobytes() for row in rows)
            chosen.append(rows)
    return np.concatenate(chosen) if chosen else known[:0]


def check_targets(targets: Sequence[FrontTarget]) -> None:
    """Raise `UserError` for two targets of the same name."""
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        raise UserError(f"the fronts are {', '.join(names)}; each platform may be given once")
