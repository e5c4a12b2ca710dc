"""Search a list of subnets, for runs that can answer with these alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from search.evaluations.archive import Archive
from search.evaluations.log import SearchLog
from search.evaluations.result import SearchResult
from search.problem.feasibility import closest_of
from search.problem.problem import Problem


@dataclass(frozen=True)
class Listed:
    """All subnets of `Problem.among`, each predicted once."""

    name: ClassVar[str] = "list"

    def search(self, problem: Problem, rng: np.random.Generator, budget: int, log: SearchLog | None = None) -> SearchResult:
        """See `Searcher.search`."""
        assert problem.among is not None
        inside = problem.among[problem.domain.contains(problem.among)]
        archive = Archive(problem, max(1, len(inside)), log, any_objective=True)
        feasible = archive.new(inside)
        if not len(feasible):
            raise closest_of(problem, inside)
        archive.add(feasible)
        return replace(archive.result(f"{self.name} of {len(inside)} subnets"), optimal=True)
