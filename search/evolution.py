"""Evolution over gene matrices, finished by local search.

Genes are categorical, so variation is uniform crossover and random reset (regularised evolution and the published finder
mutate one gene list at a time in Python; here a generation is a handful of array operations).

The resolution decides what every block costs, so the best subnets of different resolutions have little in common and one
population settles on whichever resolution looked best early. Here every resolution (or group of neighbouring ones) first
evolves apart, for a short while; then the promising ones get populations of full size, one after the other, and fresh ones
when these no longer improve, until the budget ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ofa.space import Genes
from search.feasibility import feasible_seeds
from search.genes import Domain
from search.problem import Floats, Problem
from search.searcher import Archive, SearchResult

Levels = npt.NDArray[np.int8]
SAMPLES = 6000
"""Drawn to start a population; the feasible ones nearest to the limits are evaluated."""


@dataclass(frozen=True)
class Evolution:
    """Evolve populations of subnets, then climb from the leaders through all one-gene and two-gene neighbours."""

    population: int = 512
    """At most; a 150th of the budget where that is less. As many children are evaluated per generation."""
    oversampling: int = 6
    """Children made per child evaluated; those that use most of the limits are kept."""
    changes: float = 1.5
    """Genes reset per child, on average."""
    islands: int = 8
    """Groups of resolutions that evolve apart, at most."""
    scouting_share: float = 0.35
    """Part of the budget that compares the islands."""
    finalists: int = 2
    """Islands that get full populations."""
    leaders: int = 3
    """Where local search starts."""
    climbing_share: float = 0.1
    """Part of the budget that is kept for local search."""
    patience: int = 10
    """Generations without a better leader before a population is given up."""

    @property
    def name(self) -> str:
        """As in `ofa query --algorithm`."""
        return "evolution"

    def search(self, problem: Problem, rng: np.random.Generator, budget: int) -> SearchResult:
        """See `Searcher.search`."""
        archive = Archive(problem, budget)
        seeds = feasible_seeds(problem, rng)
        size = int(np.clip(budget // 150, 16, self.population))
        archive.add(archive.new(_near_the_limits(problem, seeds, max(1, min(8 * size, budget // 8)), rng)))
        islands = _islands(problem.domain, self.islands)
        reserve = int(budget * self.climbing_share)
        if len(islands) > 1:
            share = int(budget * self.scouting_share / len(islands))
            best = [self._evolve(archive, island, size // 4, archive.left - share, rng) for island in islands]
            islands = [islands[i] for i in np.argsort(best, kind="stable")[::-1][: self.finalists]]
        tries, barren = 0, 0
        while archive.left > reserve and barren < len(islands):
            before = archive.evaluations
            self._evolve(archive, islands[tries % len(islands)], size, reserve, rng)
            tries += 1
            barren = barren + 1 if archive.evaluations == before else 0
        self._climb(problem, archive)
        return archive.result(self.name)

    def _evolve(self, archive: Archive, island: Levels, size: int, reserve: int, rng: np.random.Generator) -> float:
        """One population, until it is stale or only `reserve` evaluations are left; its best top-1, -inf if it had none."""
        problem = archive.problem
        genes, top1 = self._start(archive, island, size, reserve, rng)
        stale = 0
        while len(genes) and archive.left > reserve and stale < self.patience:
            best = top1.max()
            children = self._vary(problem.domain, genes, island, size, rng)
            children = _near_the_limits(problem, archive.new(children), min(size, archive.left - reserve), rng)
            top1 = np.concatenate([top1, archive.add(children)])
            genes = np.concatenate([genes, children])
            kept = np.argsort(-top1, kind="stable")[:size]
            genes, top1 = genes[kept], top1[kept]
            stale = 0 if top1[0] > best else stale + 1
        return float(top1.max()) if len(top1) else -np.inf

    def _start(
        self, archive: Archive, island: Levels, size: int, reserve: int, rng: np.random.Generator
    ) -> tuple[Genes, Floats]:
        """A new population's first rows, and what the archive has of its island where sampling finds nothing new."""
        domain, room = archive.problem.domain, archive.left - reserve
        drawn = np.concatenate([domain.sample(SAMPLES // 3, rng), domain.sample_sizes(2 * SAMPLES // 3, rng)])
        drawn[:, 0] = rng.choice(island, size=len(drawn))
        fresh = _near_the_limits(archive.problem, archive.new(drawn), min(3 * size, room), rng)
        top1 = archive.add(fresh)
        if len(fresh):
            return fresh, top1
        known = np.isin(archive.genes[:, 0], island)
        return archive.genes[known][:size], archive.top1[known][:size]

    def _vary(self, domain: Domain, genes: Genes, island: Levels, size: int, rng: np.random.Generator) -> Genes:
        """Half crossover then mutation, half mutation alone; all inside the island."""
        n = size * self.oversampling
        mothers, fathers = genes[rng.integers(0, len(genes), size=(2, n))]
        children = domain.vary(mothers, fathers, n // 2, self.changes, rng)
        children[:, 0] = np.where(np.isin(children[:, 0], island), children[:, 0], mothers[:, 0])
        return children

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


def _islands(domain: Domain, most: int) -> list[Levels]:
    """The resolutions of a domain in at most `most` groups of neighbours."""
    levels = domain.table[0, : domain.counts[0]]
    return np.array_split(levels, min(most, len(levels)))


def _near_the_limits(problem: Problem, genes: Genes, n: int, rng: np.random.Generator) -> Genes:
    """At most `n` rows: mostly those that use most of a limit, a quarter at random. The best subnets lie near the budget."""
    if len(genes) <= n:
        return genes
    use = problem.use(genes)
    order = np.argsort(-use.max(axis=1), kind="stable") if use.shape[1] else rng.permutation(len(genes))
    kept = n - n // 4
    others = rng.permutation(order[kept:])[: n - kept]
    return np.asarray(genes[np.concatenate([order[:kept], others])])
