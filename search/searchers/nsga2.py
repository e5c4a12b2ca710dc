"""NSGA-II over gene matrices: fronts of any number of objectives (Deb, Pratap, Agarwal and Meyarivan, IEEE TEC 6(2), 2002).

A generation is a handful of array operations: binary tournaments by rank and crowding, uniform crossover, random reset,
nondominated sorting. It differs from the paper in three ways. Variation is for categorical genes. A subnet is evaluated
once, so no generation has copies. All nondominated subnets ever evaluated are archived and returned, so the size of the
population does not bound the front. Children beyond a limit on costs are never evaluated; those below `Problem.min_top1`,
which only the prediction shows, are handled by constraint domination.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ofa.space.search_space import Genes
from search.arrays import Floats, Indices
from search.evaluations.archive import Archive
from search.evaluations.log import SearchLog
from search.evaluations.result import SearchResult
from search.pareto.domination import crowding, ranks
from search.problem.feasibility import feasible_seeds
from search.problem.problem import Problem


@dataclass(frozen=True)
class Nsga2:
    """Evolve a population towards the whole front."""

    name: ClassVar[str] = "nsga2"
    population: int = 256
    """Most members, and most children evaluated per generation; a 20th of the budget where that is less."""
    oversampling: int = 2
    """Children made per child evaluated, since some are infeasible or known."""
    changes: float = 1.5
    """Genes reset per child, on average."""
    patience: int = 20
    """Generations in a row with hardly anything new to evaluate (under a tenth of the population) before the search ends."""

    def search(self, problem: Problem, rng: np.random.Generator, budget: int, log: SearchLog | None = None) -> SearchResult:
        """See `Searcher.search`."""
        archive = Archive(problem, budget, log, any_objective=True)
        size = int(np.clip(budget // 20, 8, self.population))
        genes = archive.new(self._first(problem, size, rng))[:size]
        top1 = archive.add(genes)
        genes, losses, lacking = self._known(problem, genes, top1)
        barren = 0
        while archive.left > 0 and barren < self.patience:
            rank = ranks(losses, lacking)
            children = archive.new(self._children(problem, genes, rank, crowding(losses, rank), size, rng))[:size]
            top1 = archive.add(children)
            barren = 0 if 10 * len(top1) >= size else barren + 1
            new = self._known(problem, children, top1)
            genes, losses, lacking = (
                np.concatenate([old, more]) for old, more in zip((genes, losses, lacking), new, strict=True)
            )
            rank = ranks(losses, lacking)
            kept = np.lexsort((-crowding(losses, rank), rank))[:size]
            genes, losses, lacking = genes[kept], losses[kept], lacking[kept]
        return archive.result(self.name)

    def _first(self, problem: Problem, size: int, rng: np.random.Generator) -> Genes:
        """Subnets to start from: a sample of all sizes, then `feasible_seeds`, which are needed where limits are tight."""
        domain = problem.domain
        drawn = np.concatenate([domain.extremes(), domain.sample_sizes(4 * size, rng)])
        return np.concatenate([drawn, feasible_seeds(problem, rng)])

    def _children(
        self, problem: Problem, genes: Genes, rank: Indices, crowd: Floats, size: int, rng: np.random.Generator
    ) -> Genes:
        """Parents by binary tournament; half of the children by crossover and mutation, half by mutation alone."""
        n = size * self.oversampling
        rivals = rng.integers(0, len(genes), size=(2, 2, n))
        first, second = rivals
        wins = (rank[first] < rank[second]) | ((rank[first] == rank[second]) & (crowd[first] >= crowd[second]))
        mothers, fathers = problem.domain.grown(genes, rng)[np.where(wins, first, second)]
        return problem.domain.vary(mothers, fathers, n // 2, self.changes, rng)[rng.permutation(n)]

    def _known(self, problem: Problem, genes: Genes, top1: Floats) -> tuple[Genes, Floats, Floats]:
        """The evaluated rows, their losses, and by how much each falls short of `Problem.min_top1`."""
        return genes[: len(top1)], problem.values(genes[: len(top1)], top1) * problem.signs, problem.least_top1 - top1
