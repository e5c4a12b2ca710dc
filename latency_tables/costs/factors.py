"""Cost factors: a cost of a whole space as arrays over the few genes that each of its terms depends on.

The cost of a subnet is a sum (peak memory: a maximum) over its blocks, and what a block costs depends only on the
resolution, the widths around it, its kernel and its expand ratio. So a space of 1e19 subnets has a few thousand distinct
blocks: they are enumerated once (`ShapeGrid`), valued once (`Factors`), and combined into small tables (`Lookup`) by which a
gene matrix is evaluated with one matrix product and one gather per table. That is exact; genes of absent blocks do not
count. No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from latency_tables.arrays import Floats
from latency_tables.costs.fixed_point import largest_sum, step_for, to_fixed_point
from latency_tables.costs.lookup import Lookup, Term
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import BlockShape, head_shape, in_widths, stage_block_shape, stem_shape
from ofa.space.subnet import Block, Stage, Stem

Shapes = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class ShapeGrid:
    """Every distinct block of a space, by the genes that choose it; arrays of `BlockShape` (dtype object)."""

    space: SearchSpace
    stem: Shapes
    """[resolutions, widths, hidden widths, depths]"""
    first: tuple[Shapes, ...]
    """The first block of each stage: [resolutions, widths of the stage before, widths, an axis for each gene that the blocks
    of the stage share, an axis for each gene of a block: kernels, expands]."""
    later: tuple[Shapes | None, ...]
    """Any of the other blocks of a stage, whose input has the stage's own width: as `first`, without the axis of the width
    before; None where a stage has only one block."""
    head: Shapes
    """[resolutions, widths of the last stage]"""

    @classmethod
    def of(cls, space: SearchSpace) -> ShapeGrid:
        """Enumerate the blocks of a space."""
        stem = _stem_grid(space)
        sizes = [shape.main[-1].out_size for shape in stem[:, 0, 0, 0]]
        first, later = [], []
        for s in range(len(space.stages)):
            first.append(_stage_grid(space, s, 0, sizes))
            sizes = [shapes.flat[0].main[-1].out_size for shapes in first[-1]]
            later.append(_stage_grid(space, s, 1, sizes) if space.stages[s].depths[-1] > 1 else None)
        widths = space.stages[-1].widths
        head = np.empty((len(sizes), len(widths)), dtype=object)
        for r, size in enumerate(sizes):
            for w, width in enumerate(widths):
                head[r, w] = head_shape(space, width, size)
        return cls(space, stem, tuple(first), tuple(later), head)

    def distinct(self) -> list[BlockShape]:
        """The distinct blocks, in network order."""
        arrays = [self.stem]
        for first, later in zip(self.first, self.later, strict=True):
            arrays += [first] if later is None else [first, later]
        return list(dict.fromkeys(shape for array in [*arrays, self.head] for shape in array.flat))

    def map(self, cost: Callable[[BlockShape, int], float], reduce: np.ufunc = np.add, constant: float = 0.0) -> Factors:
        """Evaluate `cost(block, resolution of the network)` for every block; `constant` is added once per network."""

        def values(shapes: Shapes) -> Floats:
            resolutions = self.space.resolutions
            costs = [[cost(shape, size) for shape in row.flat] for size, row in zip(resolutions, shapes, strict=True)]
            return np.array(costs, dtype=np.float64).reshape(shapes.shape)

        stem = values(self.stem)
        first = tuple(values(shapes) for shapes in self.first)
        later = tuple(None if shapes is None else values(shapes) for shapes in self.later)
        return Factors(self.space, stem, first, later, values(self.head), reduce, constant)


@dataclass(frozen=True, eq=False)
class Factors:
    """One cost of a space; arrays as in `ShapeGrid`, of float64.

    cost(subnet) = constant + stem[r, w, h, d] + sum over stages and their present blocks of first or later + head[r, w];
    with `reduce` = `np.maximum`, the maximum of the terms instead (and no constant). An entry is NaN where a table has no
    such block; `Costs` turns it into an error that names the block. Terms of a sum are rounded to fixed point, so that their
    sum is the same in whatever order they are added.
    """

    space: SearchSpace
    stem: Floats
    first: tuple[Floats, ...]
    later: tuple[Floats | None, ...]
    head: Floats
    reduce: np.ufunc = np.add
    constant: float = 0.0
    step: float = field(init=False)
    """Every term of a sum is a multiple of this power of two (`latency_tables.costs.fixed_point`)."""

    def __post_init__(self) -> None:
        stages = zip(self.space.stages, self.later, strict=True)
        later = [(stage.depths[-1] - 1) * terms for stage, terms in stages if terms is not None]
        step = step_for(largest_sum([np.array(self.constant), self.stem, *self.first, *later, self.head]))
        object.__setattr__(self, "step", step)
        if self.reduce is np.add:
            object.__setattr__(self, "stem", to_fixed_point(self.stem, step))
            object.__setattr__(self, "first", tuple(to_fixed_point(terms, step) for terms in self.first))
            rounded = tuple(None if terms is None else to_fixed_point(terms, step) for terms in self.later)
            object.__setattr__(self, "later", rounded)
            object.__setattr__(self, "head", to_fixed_point(self.head, step))
            object.__setattr__(self, "constant", float(to_fixed_point(np.array(self.constant), step)))

    def terms(self) -> Iterator[Term]:
        """The terms over gene columns, in network order. Absent blocks contribute 0, neutral in a sum and in a maximum."""
        columns = self.space.columns
        resolution, width = int(columns.resolution), int(columns.of_stem("width"))
        yield Term((resolution, *columns.stem.tolist()), self.stem)
        for s, (stage, first, later) in enumerate(zip(self.space.stages, self.first, self.later, strict=True)):
            before, width, depth = width, int(columns.width(s)), int(columns.depth(s))
            shared = [int(columns.of_stage(name, s)) for name in stage.shared_genes]
            of_first, *of_later = columns.blocks(s).tolist()
            yield Term((resolution, before, width, *shared, *of_first), first)
            for b, genes in enumerate(of_later, start=1):
                assert later is not None
                present = np.reshape(np.array(stage.depths) > b, (-1, *[1] * (later.ndim - 2)))
                # [resolutions, widths, depths, shared ..., kernels, expands]; no product, for an unknown cost is NaN
                values = np.where(present, later[:, :, None], 0.0)
                yield Term((resolution, width, depth, *shared, *genes), values)
        yield Term((resolution, width), self.head)

    @property
    def alternatives(self) -> tuple[tuple[Factors, ...], ...]:
        """This cost as one of several parts (see `latency_tables.costs.composed`): the only one."""
        return ((self,),)

    def bound(self, greatest: bool) -> float:
        """An upper bound on every subnet's cost (`greatest`), or a lower bound, from the blocks that every subnet has."""
        always = [self.stem, *self.first, self.head]
        if not greatest:
            found = [float(terms.min()) for terms in always]
        else:
            found = [float(terms.max()) for terms in always]
            counts = [stage.depths[-1] - 1 for stage in self.space.stages]
            later = zip(counts, self.later, strict=True)
            found += [float(terms.max()) for count, terms in later if terms is not None for _ in range(count)]
        return max(found) if self.reduce is np.maximum else sum(found) + self.constant

    def plus(self, other: Factors) -> Factors:
        """The sum of two costs that are sums."""
        later = [None if a is None or b is None else a + b for a, b in zip(self.later, other.later, strict=True)]
        first = [a + b for a, b in zip(self.first, other.first, strict=True)]
        stem, head, constant = self.stem + other.stem, self.head + other.head, self.constant + other.constant
        return Factors(self.space, stem, tuple(first), tuple(later), head, np.add, constant)

    @cached_property
    def lookup(self) -> Lookup:
        """The terms merged into tables, ready to evaluate gene matrices."""
        terms = list(self.terms())
        if self.reduce is np.add:
            terms[0] = Term(terms[0].columns, terms[0].values + self.constant)
        return Lookup([(gene.name, len(gene.choices)) for gene in self.space.genes], terms, self.reduce)

    def __call__(self, genes: npt.ArrayLike) -> Floats:
        """Costs of a gene matrix, float64[n]; raises `UserError` on a wrong shape or a gene out of range."""
        return self.lookup(genes)


def _stem_grid(space: SearchSpace) -> Shapes:
    hidden: tuple[int | None, ...] = space.stem.hidden_widths or (None,)
    axes = (space.resolutions, space.stem.widths, hidden, space.stem.depths)
    grid = np.empty([len(axis) for axis in axes], dtype=object)
    for r, w, h, d in np.ndindex(grid.shape):
        stem = Stem(space.stem.widths[w], space.stem.depths[d], hidden[h])
        grid[r, w, h, d] = stem_shape(space, stem, space.resolutions[r])
    return grid


def _stage_grid(space: SearchSpace, stage: int, index: int, sizes: list[int]) -> Shapes:
    """All variants of block `index` of a stage (1: every later block); `sizes`: sides of its input, by resolution."""
    choices = space.stages[stage]
    inputs: tuple[int | None, ...] = (None,) if index else in_widths(space, stage, index)
    shared = list(product(*map(choices.choices, choices.shared_genes)))
    stages = [
        Stage(width, (), **dict(zip(choices.shared_genes, values, strict=True)))
        for width in choices.widths
        for values in shared
    ]
    blocks = [Block(*values) for values in product(*map(choices.choices, choices.block_genes))]
    shapes = [
        stage_block_shape(space, stage, index, block, chosen, before or chosen.width, size)
        for size, before, chosen, block in product(sizes, inputs, stages, blocks)
    ]
    genes = choices.shared_genes + choices.block_genes
    grid = np.empty(len(shapes), dtype=object)
    grid[:] = shapes
    grid = grid.reshape(len(sizes), len(inputs), len(choices.widths), *(len(choices.choices(name)) for name in genes))
    return grid[:, 0] if index else grid
