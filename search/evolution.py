"""Evolution over gene matrices, finished by local search.

Genes are categorical, so variation is uniform crossover and random reset (regularised evolution and the published finder
mutate one gene list at a time in Python; here a generation is a handful of array operations).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ofa.space import Genes
from search.feasibility import feasible_seeds
from search.problem import Problem
from search.searcher import Archive, SearchResult


@dataclass(frozen=True)
class Evolution:
    """Evolve the best `parents`, then climb from the leaders through all one-gene and two-gene neighbours."""

    parents: int = 64
    children: int = 128
    """Evaluated per generation, at most."""
    oversampling: int = 6
    """Children made per child evaluated; those that use most of the limits are kept."""
    changes: float = 2.0
    """Genes reset per mutated child, on average."""
    leaders: int = 4
    """Where local search starts."""
    climbing_share: float = 0.4
    """Part of the budget that is kept for local search."""
    patience: int = 40
    """Generations without a better leader before local search starts."""

    @property
    def name(self) -> str:
        """As in `ofa query --algorithm`."""
        return "evolution"

    def search(self, problem: Problem, rng: np.random.Generator, budget: int) -> SearchResult:
        """See `Searcher.search`."""
        archive = Archive(problem, budget)
        seeds = feasible_seeds(problem, rng)
        archive.add(archive.new(_near_the_limits(problem, seeds, max(1, min(8 * self.children, budget // 4)), rng)))
        reserve = int(budget * self.climbing_share)
        stale = 0
        while archive.left > reserve and stale < self.patience:
            best = archive.top1[0]
            room = min(self.children, archive.left - reserve)
            archive.add(_near_the_limits(problem, archive.new(self._vary(problem, archive, rng)), room, rng))
            stale = 0 if archive.top1[0] > best else stale + 1
        self._climb(problem, archive)
        return archive.result(self.name)

    def _vary(self, problem: Problem, archive: Archive, rng: np.random.Generator) -> Genes:
        """Half crossover then mutation, half mutation alone."""
        pool = archive.genes[: self.parents]
        n = self.children * self.oversampling
        mothers, fathers = pool[rng.integers(0, len(pool), size=(2, n))]
        crossed = problem.domain.cross(mothers[: n // 2], fathers[: n // 2], rng)
        return problem.domain.mutate(np.concatenate([crossed, mothers[n // 2 :]]), self.changes, rng)

    def _climb(self, problem: Problem, archive: Archive) -> None:
        """From each leader to its best neighbour while that is better; ends with the budget or at local optima."""
        climbed: set[bytes] = set()
        while archive.left > 0:
            leaders = [row for row in archive.genes[: self.leaders] if row.tobytes() not in climbed]
            if not leaders:
                return
            row = leaders[0][None]
            climbed.add(row.tobytes())
            best = archive.top1[0]
            near = problem.domain.neighbours(row)
            archive.add(archive.new(near))
            if archive.top1[0] <= best:  # an exchange: one gene cheaper pays for another that is dearer
                archive.add(archive.new(problem.domain.neighbours(near)))


def _near_the_limits(problem: Problem, genes: Genes, n: int, rng: np.random.Generator) -> Genes:
    """At most `n` rows: mostly those that use most of a limit, a quarter at random. The best subnets lie near the budget."""
    if len(genes) <= n:
        return genes
    use = problem.use(genes)
    order = np.argsort(-use.max(axis=1), kind="stable") if use.shape[1] else rng.permutation(len(genes))
    kept = n - n // 4
    others = rng.permutation(order[kept:])[: n - kept]
    return np.asarray(genes[np.concatenate([order[:kept], others])])
