"""Small stand-ins that the search tests share: a tiny space, additive costs and accuracies, every subnet of a space."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
import numpy.typing as npt

from latency_tables import METRICS
from latency_tables.costs.factors import Factors
from latency_tables.costs.fixed_point import to_fixed_point
from ofa.space.search_space import Genes, HeadSpace, SearchSpace, StageSpace, StemSpace
from search.problem.limits import Limit
from search.problem.problem import Problem

Floats = npt.NDArray[np.float64]
SCALES = {name: 1.0 for name in METRICS} | {"macs_m": 2.0, "params_m": 0.5, "energy_mj": 5 / 32}
"""How much of a metric a unit of a gene's entry is; binary fractions, as all entries are, so that sums are exact."""
STEP = 2.0**-30


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
        entries = rng.uniform(0.2, 1.0, size=(len(self.space.genes), int(self.space.levels.max())))
        self.table = to_fixed_point(entries.cumsum(axis=1), STEP)

    def sums(self, genes: Genes) -> Floats:
        values = self.table[np.arange(genes.shape[1]), genes] * self.space.rows(genes).present()
        return np.asarray(values.sum(axis=1))


class ToyCosts(Additive):
    """Every metric, in units of about one per gene; later blocks of a stage cost alike, so that cost factors exist."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for s in range(len(self.space.stages)):
            self.table[self.space.columns.depth(s)] = 0  # a depth costs its blocks
            for block in self.space.columns.blocks(s)[2:]:
                self.table[block] = self.table[self.space.columns.blocks(s)[1]]

    def of(self, metric: str, genes: Genes) -> Floats:
        drawn = self._drawn(metric)
        if METRICS[metric].reduce == "sum":
            return SCALES[metric] * drawn.sums(genes)
        return np.asarray((drawn.table[np.arange(genes.shape[1]), genes] * self.space.rows(genes).present()).max(axis=1))

    def p50_p90(self, metric: str, genes: Genes) -> None:
        """Unknown."""

    def _drawn(self, metric: str) -> ToyCosts:
        """The same costs but for energy and weights, which rank subnets in their own way."""
        other = {"energy_mj": 7, "weights_kb": 11}.get(metric)
        return self if other is None else ToyCosts(self.space, self.seed + other)

    def factors(self, metric: str) -> Factors:
        reduce = np.maximum if METRICS[metric].reduce == "max" else np.add
        scale, table = SCALES[metric], self._drawn(metric).table
        columns = self.space.columns

        def grid(*genes: int) -> Floats:
            """One axis per gene: the sum (or the maximum) of their entries."""
            total = np.zeros(())
            for gene in genes:
                total = reduce(total[..., None], scale * table[gene, : self.space.levels[gene]])
            return total

        resolutions = np.zeros(int(self.space.levels[0]))
        first, later = [], []
        width = np.zeros(len(self.space.stem.widths))
        for s, stage in enumerate(self.space.stages):
            of_first, *of_later = columns.blocks(s)
            term = grid(columns.width(s), *of_first)
            first.append(resolutions[:, None, None, None, None] + width[:, None, None, None] + term)
            width = np.zeros(len(stage.widths))
            later.append(resolutions[:, None, None, None] + width[:, None, None] + grid(*of_later[0]) if of_later else None)
        head = resolutions[:, None] + width
        return Factors(self.space, grid(0, 1, 2, 3), tuple(first), tuple(later), head, reduce)


class ToyAccuracy(Additive):
    """Top-1 between about 0.6 and 0.9, additive in its logit."""

    def top1(self, genes: Genes) -> Floats:
        sums = self.sums(genes)
        return np.asarray(1 / (1 + np.exp(-0.4 - 1.6 * sums / self.table.max(axis=1).sum())))

    def std(self, genes: Genes) -> None:
        """Unknown."""

    def score(self, genes: Genes) -> Floats:
        return self.sums(genes)

    def stage_scores(self, genes: Genes, base: Genes) -> Floats:
        rows = genes.copy()
        rows[:, 0] = base[0, 0]
        return np.repeat((self.sums(rows) - self.sums(base))[None], len(self.space.resolutions), axis=0)


def make_problem(space: SearchSpace, part: SearchSpace | None = None, **bounds: float) -> Problem:
    limits = [Limit(metric, bound, "toy-phone") for metric, bound in bounds.items()]
    costs = {"toy-phone": ToyCosts(space, seed=1)}
    return Problem(space=space, predictor=ToyAccuracy(space, seed=2), costs=costs, limits=limits, part=part)


def best_by_force(problem: Problem) -> float:
    rows = every_subnet(problem.space)
    feasible = (problem.utilisation(rows) <= 1).all(axis=1)
    return float(problem.top1(rows[feasible]).max())
