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
"""Latest evaluations per member to which the surrogate is fitted."""
GENERATIONS_BETWEEN_FITS = 2
CANDIDATES_PER_MOTHER = 3
"""Best children of each mother (by the surrogate) that may be evaluated: the second if the first is known, and so on."""


@dataclass
class Population:
    """Members on one island, the best first, and the latest evaluations, to which the surrogate is fitted."""

    domain: Domain
    island: int
    """Index of the island."""
    size: int
    """Most members."""
    genes: Genes
    top1: Floats
    recent: Genes = field(init=False)
    """The latest subnets evaluated, members or not."""
    recent_top1: Floats = field(init=False)
    surrogate: Surrogate = field(init=False)
    """Surrogate fitted to `recent`; refitted every `GENERATIONS_BETWEEN_FITS` generations."""
    generations: int = 0
    stale: int = 0
    """Generations without a better leader."""

    def __post_init__(self) -> None:
        self.recent, self.recent_top1 = self.genes, self.top1
        self.surrogate = Surrogate.fit(self.domain, self.recent, self.recent_top1)
        self._select()

    def join(self, genes: Genes, top1: Floats) -> None:
        """Add evaluated children, and keep the best members."""
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
    """Evolve every population by one generation, all in the same array operations.

    Each mother has `brood` children: four in five by crossover within her population and reset of `changes` genes on
    average, one in five by reset alone. Children stay on their mother's island (`island_of`: the island of each resolution).
    About one child per mother, the best by the surrogate, is evaluated, until only `reserve` evaluations are left.
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
    """Expected top-1 of children: the surrogate's estimate plus the mean residual of the parents."""
    beyond = np.concatenate([population.top1 - population.surrogate(population.genes) for population in populations])
    promise = (beyond[mother] + beyond[father]) / 2
    for i, population in enumerate(populations):
        own = np.flatnonzero(home[mother] == i)
        promise[own] += population.surrogate(children[own])
    return np.asarray(promise)


def _best_of_each(promise: Floats) -> Indices:
    """The `CANDIDATES_PER_MOTHER` most promising children of each mother: first every mother's best, then the second best.

    `promise` is float64[brood, mothers], -inf for a child beyond the limits; returns flat indices into it.
    """
    order = np.argsort(-promise, axis=0, kind="stable")[:CANDIDATES_PER_MOTHER]
    places = (order * promise.shape[1] + np.arange(promise.shape[1])).ravel()
    return np.asarray(places[np.isfinite(promise.ravel()[places])])
