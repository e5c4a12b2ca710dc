"""Random sampling: the baseline that every other searcher has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from search.evaluations.archive import Archive
from search.evaluations.log import SearchLog
from search.evaluations.result import SearchResult
from search.problem.feasibility import feasible_seeds
from search.problem.problem import Problem


@dataclass(frozen=True)
class RandomSearch:
    """Uniform samples of the space; infeasible ones are not evaluated, and the number of draws is bounded."""

    name: ClassVar[str] = "random"
    batch: int = 1024
    """Subnets drawn at once."""
    draws_per_evaluation: int = 20
    """Most subnets drawn, per evaluation in the budget."""

    def search(self, problem: Problem, rng: np.random.Generator, budget: int, log: SearchLog | None = None) -> SearchResult:
        """See `Searcher.search`."""
        archive = Archive(problem, budget, log, any_objective=True)
        draw = feasible_seeds(problem, rng)[:1]  # so that there is an answer whenever one exists
        drawn = 0
        while archive.left > 0 and drawn < budget * self.draws_per_evaluation and archive.evaluations < problem.domain.count:
            archive.add(archive.new(np.concatenate([draw, problem.domain.sample(self.batch, rng)])))
            draw = draw[:0]
            drawn += self.batch
        return archive.result(self.name)
