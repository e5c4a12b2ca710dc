"""Small stand-ins that the search tests share: a tiny space, additive costs and accuracies, every subnet of a space."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
import numpy.typing as npt

from ofa.space import Genes, HeadSpace, SearchSpace, StageSpace, StemSpace
from search.genes import present
from search.problem import Limit, Problem

Floats = npt.NDArray[np.float64]


def make_space(stages: int = 2, depths: tuple[int, ...] = (1, 2), resolutions: tuple[int, ...] = (16, 24)) -> SearchSpace:
    stage = StageSpace(widths=(16,), depths=depths, kernels=(3, 5), expands=(2, 3, 4))
    return SearchSpace(
        name="toy",
        block="mbconv",
        stem=StemSpace(widths=(8,)),
        stages=(stage,) * stages,
        head=HeadSpace(),
        resolutions=resolutions,
        in_channels=1,
        classes=3,
    )


def one_subnet_space() -> SearchSpace:
    return make_space().restrict(kernels=[5], depths=[2], expands=[4], resolutions=[24])


def every_subnet(space: SearchSpace) -> Genes:
    rows = np.array(list(product(*(range(levels) for levels in space.levels))), dtype=np.int8)
    rows = np.unique(space.canonical(rows), axis=0)
    assert len(rows) == space.count()
    return rows


@dataclass
class Additive:
    """Sum of one random positive number per gene and choice; larger choices count more."""

    space: SearchSpace
    seed: int
    noise: float = 0.0
    table: Floats = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.table = rng.uniform(0.2, 1.0, size=(len(self.space.genes), int(self.space.levels.max()))).cumsum(axis=1)

    def sums(self, genes: Genes) -> Floats:
        values = self.table[np.arange(genes.shape[1]), genes] * present(self.space, genes)
        return np.asarray(values.sum(axis=1))


class ToyCosts(Additive):
    """All five metrics, in units of about one per gene."""

    def latency_ms(self, genes: Genes) -> Floats:
        return self.sums(genes)

    def energy_mj(self, genes: Genes) -> Floats:
        return 0.1 * self.sums(genes) + 0.3 * self.sums(genes) ** 0.5

    def memory_kb(self, genes: Genes) -> Floats:
        return np.asarray((self.table[np.arange(genes.shape[1]), genes] * present(self.space, genes)).max(axis=1))

    def macs_m(self, genes: Genes) -> Floats:
        return 2 * self.sums(genes)

    def params_m(self, genes: Genes) -> Floats:
        return 0.5 * self.sums(genes)


class ToyAccuracy(Additive):
    """Top-1 between about 0.6 and 0.9, additive in its logit."""

    def top1(self, genes: Genes) -> Floats:
        sums = self.sums(genes)
        return np.asarray(1 / (1 + np.exp(-0.4 - 1.6 * sums / self.table.max(axis=1).sum())))


def make_problem(space: SearchSpace, part: SearchSpace | None = None, **bounds: float) -> Problem:
    limits = [Limit(metric, bound, "toy-phone") for metric, bound in bounds.items()]
    costs = {"toy-phone": ToyCosts(space, seed=1)}
    return Problem(space=space, predictor=ToyAccuracy(space, seed=2), costs=costs, limits=limits, part=part)


def best_by_force(problem: Problem) -> float:
    rows = every_subnet(problem.space)
    feasible = (problem.use(rows) <= 1).all(axis=1)
    return float(problem.top1(rows[feasible]).max())
