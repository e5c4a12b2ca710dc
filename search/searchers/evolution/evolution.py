"""Evolution over gene matrices, continued by iterated local search (`evolution.exchanges`).

Genes are categorical, so variation is uniform crossover and random reset. A generation is a handful of array operations
(regularised evolution and the published finder mutate one gene list at a time in Python). Of the many children of each
mother one is evaluated: the best by an additive surrogate, fitted to the latest evaluations (`evolution.surrogate`).

The landscape is rugged: a population converges to one of many optima, and chance decides which. So there are many small
populations, a few at a time. The cost of every block depends on the resolution, and the best subnets of different
resolutions have little in common. So at first every resolution, or group of neighbouring ones, is an island with a
population of its own, and the worse islands are given up early. A population that no longer improves is replaced by a new
one on a promising island. The new ones start in turn from fresh samples, from crossover between two populations that ended
there (optima have much in common, so that is a good place to start), and from the best subnets so far with many genes reset.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ofa.space.search_space import Genes
from search.arrays import Indices
from search.evaluations.archive import Archive
from search.evaluations.log import SearchLog
from search.evaluations.result import SearchResult
from search.problem.feasibility import feasible_seeds
from search.problem.problem import Problem
from search.rows import distinct
from search.searchers.evolution.exchanges import Exchanges
from search.searchers.evolution.populations import Population, generation

DRAWN_PER_MEMBER = 18
"""Subnets drawn per member to start a population; of the feasible ones, those nearest to the limits are evaluated."""
SAMPLES_PER_CLIMB = 32
"""Fresh subnets evaluated to start a climb of the local search from the best of them."""
FRESH_RANKS = 0, 1, 0, 2, 0, 1
"""Islands, by their rank, that these climbs start from in turn."""
EVALUATED_PER_MEMBER = 3
"""Subnets evaluated per member to start a population."""


@dataclass(frozen=True)
class Evolution:
    """Evolve populations of subnets, then climb from the leaders by moves and exchanges."""

    name: ClassVar[str] = "evolution"
    population: int = 96
    """Most members of a population; a 200th of the budget where that is less."""
    side_by_side: int = 4
    """Populations that evolve at the same time; at first one per island, if that is more."""
    brood: int = 16
    """Children made per mother and generation, of which about one is evaluated."""
    changes: float = 1.0
    """Genes reset per child, on average."""
    remembered: int = 12
    """Best members of an ended population that may be crossed with those of another."""
    elite: int = 20
    """Best subnets so far that may be perturbed."""
    perturbed: float = 0.4
    """Fraction of the genes that a perturbation resets."""
    islands: int = 8
    """Most islands: groups of resolutions that evolve apart."""
    trial: int = 8
    """Generations after which the worse half of the islands is given up, again and again until `finalists` are left."""
    finalists: int = 2
    """Islands that are never given up."""
    patience: int = 6
    """Generations without a better leader (best member) after which a population ends."""
    evolving: int = 17_000
    """Most evaluations by populations; the rest of the budget is for local search."""
    climbing_fraction: float = 0.05
    """Least fraction of the budget that is reserved for local search."""

    def search(self, problem: Problem, rng: np.random.Generator, budget: int, log: SearchLog | None = None) -> SearchResult:
        """See `Searcher.search`."""
        archive = Archive(problem, budget, log)
        seeds = feasible_seeds(problem, rng)
        size = int(np.clip(budget // 200, 8, self.population))
        archive.add(archive.new(_near_the_limits(problem, seeds, max(1, min(size, budget // 8)), rng)))
        reserve = max(int(budget * self.climbing_fraction), budget - self.evolving)
        run = _Run(self, archive, rng, size, reserve)
        populations = [population for island in list(run.best) if (population := run.first(island))]
        while archive.left > run.reserve:
            while len(populations) < self.side_by_side and (another := run.another()):
                populations.append(another)
            if not populations:
                break
            generation(archive, populations, run.island_of, self.brood, self.changes, run.reserve, rng)
            populations = run.going_on(populations)
        Exchanges(archive, run.fresh, rng).run(run.leaders(populations))
        return archive.result(self.name)


@dataclass
class _Run:
    """The state of one search: the islands that are left, and their populations."""

    settings: Evolution
    archive: Archive
    rng: np.random.Generator
    size: int
    """Most members of a population."""
    reserve: int
    """Evaluations reserved for local search."""
    founded: int = 0
    """Populations started after the first ones."""
    generations: int = 0
    ended: dict[int, list[Population]] = field(default_factory=dict)
    """The populations that have ended, by island."""
    best: dict[int, float] = field(init=False)
    """The best top-1 of every island that has not been given up."""
    record: dict[int, float] = field(default_factory=dict)
    """The best top-1 of every island, given up or not."""

    def __post_init__(self) -> None:
        domain = self.archive.problem.domain
        levels = domain.table[0, : domain.counts[0]]
        self.islands = np.array_split(levels, min(self.settings.islands, len(levels)))
        self.island_of: Indices = np.zeros(len(domain.space.resolutions), dtype=np.int64)
        for i, island in enumerate(self.islands):
            self.island_of[island] = i
        self.best = dict.fromkeys(range(len(self.islands)), -np.inf)

    def first(self, island: int) -> Population | None:
        """The first population of an island: fresh samples and the subnets evaluated so far; None where there are none."""
        domain = self.archive.problem.domain
        known = self.island_of[self.archive.genes[:, 0]] == island
        genes, top1 = self.archive.genes[known], self.archive.top1[known]
        fresh = self._fresh(island)
        genes, top1 = np.concatenate([genes, fresh]), np.concatenate([top1, self.archive.add(fresh)])
        return Population(domain, island, self.size, genes, top1) if len(genes) else None

    def another(self) -> Population | None:
        """One more population, on the best island or sometimes on the second best; None where nothing new is found.

        Of four populations, one starts from fresh samples, one from perturbed subnets, and two from crossover: on the
        published predictor, each of these alone finds less.
        """
        island = self._island()
        turn = self.founded % 4
        if turn % 2 and len(self.ended.get(island, [])) > 1:
            genes = self._crossed(island)
        else:
            genes = self._perturbed(island) if turn == 2 else self._fresh(island)
        self.founded += 1
        if not len(genes):
            return None
        return Population(self.archive.problem.domain, island, self.size, genes, self.archive.add(genes))

    def _island(self) -> int:
        """The best island; every third time the second best, if it equals half of the best one's ended populations."""
        order = sorted(self.best, key=lambda island: -self.best[island])
        if self.founded % 3 == 2 and len(order) > 1:
            ended = self.ended.get(order[0], [])
            if not ended or self.best[order[1]] >= np.median([population.top1[0] for population in ended]):
                return order[1]
        return order[0]

    def going_on(self, populations: list[Population]) -> list[Population]:
        """The populations that still improve, on islands that have not been given up."""
        self.generations += 1
        patience = self.settings.patience
        for population in populations:
            leader = float(population.top1[0])
            self.best[population.island] = max(self.best[population.island], leader)
            self.record[population.island] = max(self.record.get(population.island, -np.inf), leader)
            if population.stale >= patience:
                self.ended.setdefault(population.island, []).append(population)
        if self.generations % self.settings.trial == 0:
            kept = max(self.settings.finalists, -(-len(self.best) // 2))
            order = sorted(self.best, key=lambda island: -self.best[island])
            self.best = {island: self.best[island] for island in order[:kept]}
        return [p for p in populations if p.stale < patience and p.island in self.best]

    def leaders(self, populations: list[Population]) -> Genes:
        """The best subnets of the search and of its populations, those that evolve and those that have ended, best first."""
        all_of_them = [*populations, *(population for ended in self.ended.values() for population in ended)]
        order = sorted(all_of_them, key=lambda population: -population.top1[0])
        return distinct(np.concatenate([self.archive.genes[:1], *(p.genes[:1] for p in order if p.island in self.best)]))

    def fresh(self) -> Genes:
        """A few new subnets of one of the best islands, near the limits.

        Islands are given up early, while their order still changes; so here the second and the third best have their turns.
        """
        archive = self.archive
        for island in self.record:
            here = archive.top1[self.island_of[archive.genes[:, 0]] == island]
            self.record[island] = max(self.record[island], here.max(initial=-np.inf))
        order = sorted(self.record, key=lambda island: -self.record[island]) or [self._island()]
        rank = FRESH_RANKS[self.founded % len(FRESH_RANKS)]
        self.founded += 1
        genes = self._drawn(order[min(rank, len(order) - 1)])
        return _near_the_limits(archive.problem, archive.new(genes), SAMPLES_PER_CLIMB, self.rng)

    def _fresh(self, island: int) -> Genes:
        """New subnets of an island, near the limits."""
        return self._new(self._drawn(island))

    def _drawn(self, island: int) -> Genes:
        domain = self.archive.problem.domain
        few = DRAWN_PER_MEMBER * self.size // 3
        drawn = np.concatenate([domain.sample(few, self.rng), domain.sample_sizes(2 * few, self.rng)])
        return self._placed(drawn, island)

    def _crossed(self, island: int) -> Genes:
        """New subnets of an island, near the limits, from crossover between two populations that ended there."""
        domain, ended = self.archive.problem.domain, self.ended[island]
        rows = DRAWN_PER_MEMBER * self.size
        first = self.rng.integers(0, len(ended), size=rows)
        second = (first + self.rng.integers(1, len(ended), size=rows)) % len(ended)
        remembered = min(self.settings.remembered, *(len(population.genes) for population in ended))
        best = domain.grown(np.concatenate([population.genes[:remembered] for population in ended]), self.rng)
        one, other = (place * remembered + self.rng.integers(0, remembered, size=rows) for place in (first, second))
        return self._new(self._placed(domain.vary(best[one], best[other], rows, self.settings.changes, self.rng), island))

    def _perturbed(self, island: int) -> Genes:
        """New subnets of an island, near the limits: the best known ones with many genes reset."""
        domain, archive = self.archive.problem.domain, self.archive
        elite = archive.genes[self.island_of[archive.genes[:, 0]] == island][: self.settings.elite]
        if not len(elite):
            return self._fresh(island)
        drawn = elite[self.rng.integers(0, len(elite), size=DRAWN_PER_MEMBER * self.size)]
        resets = self.settings.perturbed * float((domain.counts > 1).sum())
        return self._new(self._placed(domain.mutate(drawn, resets, self.rng), island))

    def _placed(self, genes: Genes, island: int) -> Genes:
        """The rows at resolutions of an island."""
        genes[:, 0] = self.rng.choice(self.islands[island], size=len(genes))
        return genes

    def _new(self, genes: Genes) -> Genes:
        room = max(0, min(EVALUATED_PER_MEMBER * self.size, self.archive.left - self.reserve))
        return _near_the_limits(self.archive.problem, self.archive.new(genes), room, self.rng)


def _near_the_limits(problem: Problem, genes: Genes, n: int, rng: np.random.Generator) -> Genes:
    """At most `n` rows: three quarters use most of a limit, because the best subnets lie there; a quarter is random."""
    if len(genes) <= n:
        return genes
    used = problem.utilisation(genes)
    order = np.argsort(-used.max(axis=1), kind="stable") if used.shape[1] else rng.permutation(len(genes))
    kept = n - n // 4
    others = rng.permutation(order[kept:])[: n - kept]
    return np.asarray(genes[np.concatenate([order[:kept], others])])
