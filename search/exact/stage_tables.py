"""A problem as tables over whole stages: the contribution of every option of a stage to the score and to each cost.

An option of a stage is a depth with the kernels and expand ratios of all its blocks (7,371 in a stage of mbv3-w1.2). Its
score is any function of the option, the stage's width and the resolution; its cost also depends on the width of the stage
before, which `exact.solve` carries as the state of a chain. Costs come from the platform's cost factors, scores from a
predictor whose `score` is a sum over stages (its accuracy is a monotone function of that). The stem counts as the first part
of a chain, the stages as the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from latency_tables.costs.factors import Factors
from latency_tables.costs.fixed_point import floor_to_fixed_point, largest_sum, step_for, to_fixed_point
from ofa.space.search_space import Genes
from search.arrays import Floats
from search.predictors.protocols import StageAdditive
from search.problem.problem import Problem

MOST_OPTIONS = 100_000
"""Most options of one stage; with more, the tables would not be small."""


@dataclass(frozen=True)
class Chain:
    """The tables of one resolution, one for each part (the stem, then the stages): [widths before, widths, options].

    There is one width before the stem.
    """

    scores: tuple[Floats, ...]
    """Scores by part; they add up to the predictor's score."""
    costs: tuple[tuple[Floats, ...], ...]
    """Costs, then by part."""
    allowed: tuple[np.ndarray, ...]
    """True where a choice is in the domain and meets every limit on a maximum, by part; bool."""
    reduce: tuple[np.ufunc, ...]
    """Combination of the parts' costs, by cost."""
    limited: tuple[tuple[int, ...], ...]
    """The costs that each bound limits the sum of: maxima over parts, and last a sum."""

    def limited_costs(self, costs: Floats) -> Floats:
        """The costs that bounds limit, float64[bounds, paths], from costs of paths, float64[costs, paths]."""
        return np.stack([costs[list(group)].sum(axis=0) for group in self.limited])


def why_no_tables(problem: Problem) -> str | None:
    """Reason why a problem has no stage tables, and so no exact answer; None when it has them."""
    if not isinstance(problem.predictor, StageAdditive):
        return "the predictor is not stage-additive"
    for s, stage in enumerate(problem.space.stages):
        per_block = prod(len(stage.choices(name)) for name in stage.block_genes)
        count = prod(len(stage.choices(name)) for name in stage.shared_genes) * sum(
            per_block**depth for depth in stage.depths
        )
        if count > MOST_OPTIONS:
            return f"stage {s} has {count} options; at most {MOST_OPTIONS} are tabulated"
    return None


class StageTables:
    """The tables of a problem.

    Args:
        problem: a problem for which `why_no_tables` is None.
        metrics: (metric, platform) of the costs to tabulate. One that is composed (`latency_tables.costs.composed`) takes
            several tables.
    """

    def __init__(self, problem: Problem, metrics: list[tuple[str, str]]) -> None:
        self.problem = problem
        self.space = problem.space
        self.domain = problem.domain
        self.factors: list[Factors] = []
        self.limited: list[tuple[int, ...]] = []
        """`Chain.limited`: an entry for each alternative of each metric."""
        for metric, platform in metrics:
            for parts in problem.costs[platform].factors(metric).alternatives:
                self.limited.append(tuple(range(len(self.factors), len(self.factors) + len(parts))))
                self.factors += parts
        self.resolutions = self.domain.table[0, : self.domain.counts[0]].tolist()

    def _levels(self, gene: int) -> list[int]:
        return [int(level) for level in self.domain.table[gene, : self.domain.counts[gene]]]

    @cached_property
    def options(self) -> tuple[Genes, ...]:
        """The options of each part, as canonical gene rows; the part's width and all genes of others are the smallest."""
        base = self.base[0]
        columns = self.space.columns
        parts = [self._product(base, [int(columns.of_stem("hidden")), int(columns.of_stem("depth"))])]
        for s, stage in enumerate(self.space.stages):
            shared = [int(columns.of_stage(name, s)) for name in stage.shared_genes]
            found = []
            for depth in self._levels(int(columns.depth(s))):
                start = base.copy()
                of_start = self.space.rows(start)
                of_start.blocks(s)[:] = 0
                of_start.depth(s)[...] = depth
                present = columns.blocks(s)[: stage.depths[depth]].ravel().tolist()
                rows = self._product(start, shared + present)
                tied = (self.space.canonical(rows) == rows).all(axis=1) if self.space.compound else slice(None)
                found.append(rows[tied])
            parts.append(np.concatenate(found))
        return tuple(parts)

    def _product(self, base: Genes, genes: list[int]) -> Genes:
        """The row `base` with every combination of the levels of some genes."""
        levels = np.meshgrid(*map(self._levels, genes), indexing="ij")
        rows = np.repeat(base[None], levels[0].size, axis=0)
        rows[:, genes] = np.stack(levels, axis=-1).reshape(len(rows), -1)
        return rows

    @cached_property
    def base(self) -> Genes:
        """The smallest subnet of the domain, int8[1, genes]."""
        return self.domain.extremes()[:1]

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Number of widths of the stem and of each stage in the space, including those outside the domain."""
        return (len(self.space.stem.widths), *(len(stage.widths) for stage in self.space.stages))

    def column(self, part: int) -> int:
        """The gene column of a part's width: the stem (0) or stage `part - 1`."""
        columns = self.space.columns
        return int(columns.of_stem("width") if part == 0 else columns.width(part - 1))

    def genes(self, resolution: int, picks: npt.NDArray[np.int64]) -> Genes:
        """Subnets from `Paths.picks` (width * options + option of each part), int64[n, parts]."""
        genes = np.repeat(self.base, len(picks), axis=0)
        self.space.rows(genes).resolution[:] = resolution
        columns = self.space.columns
        for part, rows in enumerate(self.options):
            width, option = np.divmod(picks[:, part], len(rows))
            of_part = columns.stem if part == 0 else columns.stage(part - 1)
            genes[:, of_part] = rows[option[:, None], of_part]
            genes[:, self.column(part)] = width
        return genes

    @cached_property
    def _scores(self) -> list[Floats]:
        """Scores of each part, [resolutions, widths, options]; the stem's include the score of the smallest subnet.

        They are in fixed point, like costs: equal scores stay equal in whatever order their terms are added.
        """
        predictor = self.problem.predictor
        assert isinstance(predictor, StageAdditive)
        tables = []
        for part, rows in enumerate(self.options):
            widths = []
            for width in range(self.widths[part]):
                given = rows.copy()
                given[:, self.column(part)] = width
                widths.append(predictor.stage_scores(given, self.base))
            tables.append(np.stack(widths, axis=1))
        smallest = np.repeat(self.base, len(self.space.resolutions), axis=0)
        self.space.rows(smallest).resolution[:] = np.arange(len(smallest))
        tables[0] = tables[0] + predictor.score(smallest)[:, None, None]
        step = step_for(largest_sum(tables))
        return [to_fixed_point(table, step) for table in tables]

    def floored(self, bounds: Floats) -> Floats:
        """The bounds rounded down to fixed point, float64[bounds], so that their differences with costs are exact.

        Maxima that are limited together with a sum are of bytes: multiples of the sum's step.
        """
        steps = np.array([self.factors[group[-1]].step for group in self.limited])
        return floor_to_fixed_point(bounds, steps)

    @cached_property
    def _blocks(self) -> list[npt.NDArray[np.int64]]:
        """The blocks of every option, int64[blocks, options], by stage.

        A block is its index into the flattened axes of the cost factors behind the widths; an absent one is the index past
        the end.
        """
        found = []
        for s, (stage, options) in enumerate(zip(self.space.stages, self.options[1:], strict=True)):
            rows = self.space.rows(options.astype(np.int64))
            levels = [rows.of_stage(name, s)[:, None] for name in stage.shared_genes]
            levels += [rows.block(name, s) for name in stage.block_genes]
            sizes = [len(stage.choices(name)) for name in stage.shared_genes + stage.block_genes]
            index = np.ravel_multi_index(np.broadcast_arrays(*levels), sizes)
            present = self.space.rows(rows.present()).block(stage.block_genes[0], s)
            found.append(np.where(present, index, np.prod(sizes)).T)
        return found

    def cost(self, factors: Factors, part: int, resolution: int) -> Floats:
        """Costs of a part, [widths before, widths, options]; the last stage includes the head, the stem the constant."""
        rows = self.options[part]
        if part == 0:
            of_stem = self.space.rows(rows).of_stem
            values = factors.stem[resolution][:, of_stem("hidden"), of_stem("depth")]  # [widths, options]
            return np.asarray(values + (factors.constant if factors.reduce is np.add else 0.0))[None]
        s = part - 1
        first, later = factors.first[s][resolution], factors.later[s]
        blocks = self._blocks[s]
        total = first.reshape(*first.shape[:2], -1)[:, :, blocks[0]]
        if later is not None:
            values = later[resolution].reshape(len(later[resolution]), -1)
            values = np.concatenate([values, np.zeros((len(values), 1))], axis=1)  # the last is an absent block's
            for block in blocks[1:]:
                total = factors.reduce(total, values[:, block])
        if part == len(self.space.stages):
            total = factors.reduce(total, factors.head[resolution][None, :, None])
        return np.asarray(total)

    def chain(self, resolution: int, below: list[tuple[Factors, float]]) -> Chain:
        """The tables of a resolution; `below` holds limits on maxima (peak memory), which every term must be within."""
        parts = range(len(self.options))
        costs = tuple(tuple(self.cost(factors, part, resolution) for part in parts) for factors in self.factors)
        scores, allowed = [], []
        for part in parts:
            before = 1 if part == 0 else self.widths[part - 1]
            scores.append(np.broadcast_to(self._scores[part][resolution], (before, *self._scores[part].shape[1:])))
            fits = np.zeros(scores[-1].shape, dtype=np.bool_)
            fits[:, self._levels(self.column(part))] = True
            for factors, bound in below:
                fits &= self.cost(factors, part, resolution) <= bound
            allowed.append(fits)
        reduce = tuple(factors.reduce for factors in self.factors)
        return Chain(tuple(scores), costs, tuple(allowed), reduce, tuple(self.limited))
