"""Populations that evolve side by side: the generations of `search.evolution`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ofa.space import Genes
from search.feasibility import violation
from search.genes import keys
from search.guess import Guess
from search.problem import Floats, Problem
from search.searcher import Archive

Indices = npt.NDArray[np.int64]
MEMORY = 10
"""Subnets evaluated last that the guess is fitted to, per member."""
CHOICES = 3
"""Children of each mother, the best by the guess, that may be evaluated: the second where the first is known already."""


@dataclass
class Population:
    """Subnets of one island, the best first, and the ones evaluated last, from which accuracy is guessed."""

    island: int
    """Its place in the list of islands."""
    size: int
    """At most."""
    genes: Genes
    top1: Floats
    recent: Genes = field(init=False)
    recent_top1: Floats = field(init=False)
    stale: int = 0
    """Generations without a better leader."""

    def __post_init__(self) -> None:
        self.recent, self.recent_top1 = self.genes, self.top1
        self._select()

    def join(self, genes: Genes, top1: Floats) -> None:
        """The best of the population and its children go on."""
        best, memory = self.top1[0], MEMORY * self.size
        self.recent = np.concatenate([self.recent, genes])[-memory:]
        self.recent_top1 = np.concatenate([self.recent_top1, top1])[-memory:]
        self.genes, self.top1 = np.concatenate([self.genes, genes]), np.concatenate([self.top1, top1])
        self._select()
        self.stale = 0 if self.top1[0] > best else self.stale + 1

    def _select(self) -> None:
        kept = np.argsort(-self.top1, kind="stable")[: self.size]
        self.genes, self.top1 = self.genes[kept], self.top1[kept]


def generation(
    archive: Archive,
    populations: list[Population],
    island_of: npt.NDArray[np.int64],
    brood: int,
    changes: float,
    reserve: int,
    rng: np.random.Generator,
) -> None:
    """One generation of every population, all in the same array operations.

    A mother has `brood` children, four of five by crossover inside her population and reset of `changes` genes, one by
    reset alone; none leaves the island (`island_of` a resolution). About one per mother, the best by the guess, is
    evaluated, while more than `reserve` evaluations are left.
    """
    problem = archive.problem
    counts = np.array([len(population.genes) for population in populations])
    home = np.repeat(np.arange(len(populations)), counts)
    genes = np.concatenate([population.genes for population in populations])
    mother = np.tile(np.arange(len(genes)), brood)
    father = (counts.cumsum() - counts)[home[mother]] + rng.integers(0, counts[home[mother]])
    crossed = len(mother) * 4 // 5
    children = problem.domain.vary(genes[mother], genes[father], crossed, changes, rng)
    stays = island_of[children[:, 0]] == island_of[genes[mother, 0]]
    children[:, 0] = np.where(stays, children[:, 0], genes[mother, 0])

    fits = np.flatnonzero(violation(problem, children) <= 0)
    children, mother, father = children[fits], mother[fits], np.where(fits < crossed, father[fits], mother[fits])
    best = _best_of_each(mother, _promise(problem, populations, children, home[mother], mother, father))
    children, home = children[best], home[mother[best]]
    new = archive.new(children)[: min(len(genes), archive.left - reserve)]
    home = home[_places(new, children)]
    top1 = archive.add(new)
    for i, population in enumerate(populations):
        population.join(new[home == i], top1[home == i])


def _promise(
    problem: Problem, populations: list[Population], children: Genes, home: Indices, mother: Indices, father: Indices
) -> Floats:
    """What to expect of children; what the guess does not explain, they have from their parents."""
    guesses = [Guess.fit(problem.domain, population.recent, population.recent_top1) for population in populations]
    pairs = zip(populations, guesses, strict=True)
    beyond = np.concatenate([population.top1 - guess(population.genes) for population, guess in pairs])
    promise = (beyond[mother] + beyond[father]) / 2
    for i, guess in enumerate(guesses):
        promise[home == i] += guess(children[home == i])
    return np.asarray(promise)


def _best_of_each(mother: Indices, promise: Floats) -> Indices:
    """The `CHOICES` most promising children of each mother: the best of every mother first, then the second best."""
    order = np.lexsort((-promise, mother))
    place = np.arange(len(order)) - np.searchsorted(mother[order], mother[order])
    few = np.flatnonzero(place < CHOICES)
    return np.asarray(order[few[np.argsort(place[few], kind="stable")]])


def _places(rows: Genes, among: Genes) -> Indices:
    """Where each row first stands among others."""
    known = keys(among)
    order = np.argsort(known, kind="stable")
    return np.asarray(order[np.searchsorted(known[order], keys(rows))])
