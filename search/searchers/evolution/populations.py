"""Populations that evolve side by side: the generations of `search.searchers.evolution.evolution`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ofa.space.search_space import Genes
from search.arrays import Floats, Indices
from search.evaluations.archive import Archive
from search.problem.domain import Domain
from search.problem.feasibility import violation
from search.searchers.evolution.surrogate import Surrogate

RECENT_PER_MEMBER = 10
"""Subnets evaluated last that the surrogate is fitted to, per member."""
GENERATIONS_BETWEEN_FITS = 2
CANDIDATES_PER_MOTHER = 3
"""Children of each mother, the best by the surrogate, that may be evaluated: the second where the first is known already."""


@dataclass
class Population:
    """Subnets of one island, the best first, and the ones evaluated last, to which the surrogate is fitted."""

    domain: Domain
    island: int
    """Its place in the list of islands."""
    size: int
    """Most members."""
    genes: Genes
    top1: Floats
    recent: Genes = field(init=False)
    recent_top1: Floats = field(init=False)
    surrogate: Surrogate = field(init=False)
    """Fitted to `recent`, anew every `GENERATIONS_BETWEEN_FITS` generations."""
    generations: int = 0
    stale: int = 0
    """Generations without a better leader."""

    def __post_init__(self) -> None:
        self.recent, self.recent_top1 = self.genes, self.top1
        self.surrogate = Surrogate.fit(self.domain, self.recent, self.recent_top1)
        self._select()

    def join(self, genes: Genes, top1: Floats) -> None:
        """The best of the population and its children go on."""
        best, memory = self.top1[0], RECENT_PER_MEMBER * self.size
        self.recent = np.concatenate([self.recent, genes])[-memory:]
        self.recent_top1 = np.concatenate([self.recent_top1, top1])[-memory:]
        self.genes, self.top1 = np.concatenate([self.genes, genes]), np.concatenate([self.top1, top1])
        self._select()
        self.generations += 1
        if self.generations % GENERATIONS_BETWEEN_FITS == 0:
            self.surrogate = Surrogate.fit(self.domain, self.recent, self.recent_top1)
        self.stale = 0 if self.top1[0] > best else self.stale + 1

    def _select(self) -> None:
        kept = np.argsort(-self.top1, kind="stable")[: self.size]
        self.genes, self.top1 = self.genes[kept], self.top1[kept]


def generation(
    archive: Archive,
    populations: list[Population],
    island_of: Indices,
    brood: int,
    changes: float,
    reserve: int,
    rng: np.random.Generator,
) -> None:
    """One generation of every population, all in the same array operations.

    A mother has `brood` children, four of five by crossover inside her population and reset of `changes` genes, one by
    reset alone; none leaves the island (`island_of` a resolution). About one per mother, the best by the surrogate, is
    evaluated, while more than `reserve` evaluations are left.
    """
    problem = archive.problem
    counts = np.array([len(population.genes) for population in populations])
    home = np.repeat(np.arange(len(populations)), counts)  # of every mother
    genes = np.concatenate([population.genes for population in populations])
    mother = np.tile(np.arange(len(genes)), brood)
    father = (counts.cumsum() - counts)[home[mother]] + rng.integers(0, counts[home[mother]])
    crossed = len(mother) * 4 // 5
    grown = problem.domain.grown(genes, rng)
    children = problem.domain.vary(grown.take(mother, axis=0), grown.take(father, axis=0), crossed, changes, rng)
    stays = island_of[children[:, 0]] == island_of[genes[mother, 0]]
    children[:, 0] = np.where(stays, children[:, 0], genes[mother, 0])

    father[crossed:] = mother[crossed:]
    fits = np.flatnonzero(violation(problem, children) <= 0)
    promise = np.full(len(mother), -np.inf)
    promise[fits] = _promise(populations, home, children[fits], mother[fits], father[fits])
    best = _best_of_each(promise.reshape(brood, -1))
    best = best[archive.new_places(children[best])][: min(len(genes), archive.left - reserve)]
    new, home = children[best], home[mother[best]]
    top1 = archive.add(new)
    for i, population in enumerate(populations):
        population.join(new[home == i], top1[home == i])


def _promise(populations: list[Population], home: Indices, children: Genes, mother: Indices, father: Indices) -> Floats:
    """Expected top-1 of children: the surrogate, and what their parents have beyond it."""
    beyond = np.concatenate([population.top1 - population.surrogate(population.genes) for population in populations])
    promise = (beyond[mother] + beyond[father]) / 2
    for i, population in enumerate(populations):
        own = np.flatnonzero(home[mother] == i)
        promise[own] += population.surrogate(children[own])
    return np.asarray(promise)


def _best_of_each(promise: Floats) -> Indices:
    """The `CANDIDATES_PER_MOTHER` most promising children of each: the best of every mother first, then the second best.

    `promise` is float64[brood, mothers], -inf for a child beyond the limits; returned are places in it, row after row.
    """
    order = np.argsort(-promise, axis=0, kind="stable")[:CANDIDATES_PER_MOTHER]
    places = (order * promise.shape[1] + np.arange(promise.shape[1])).ravel()
    return np.asarray(places[np.isfinite(promise.ravel()[places])])
