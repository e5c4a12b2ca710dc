"""Gene rows: a subnet as a row of small integers. Only this file knows the meaning of the columns. No torch here.

A gene is an index into the ascending choices of one dimension (a width, a kernel size, ...). The columns are, in order: the
resolution; the stem's genes; then for each stage its stage genes, followed by the block genes of each of its blocks
(`StageSpace` names both). All other code reads and writes genes by name, through `GeneRows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from ofa.space.parts import StageSpace, StemSpace
from ofa.space.subnet import Block, Stage

Genes = npt.NDArray[np.int8]
Rows = npt.NDArray[Any]

STEM_GENES = ("width", "hidden", "depth")
_BEFORE_STAGES = 1 + len(STEM_GENES)


@dataclass(frozen=True, slots=True)
class Gene:
    """A column of a gene matrix: its name, its choices in order, and the stage and block it belongs to."""

    name: str
    choices: tuple[Any, ...]
    stage: int | None = None
    block: int | None = None


def gene_list(resolutions: tuple[int, ...], stem: StemSpace, stages: Sequence[StageSpace]) -> tuple[Gene, ...]:
    """The columns of a gene matrix, in order."""
    of_stem = stem.widths, stem.hidden_widths or (0,), stem.depths
    genes = [Gene("resolution", resolutions)]
    genes += [Gene(f"stem.{name}", choices) for name, choices in zip(STEM_GENES, of_stem, strict=True)]
    for s, stage in enumerate(stages):
        genes += [Gene(f"stages[{s}].{name}", stage.choices(name), s) for name in stage.stage_genes]
        for b in range(stage.depths[-1]):
            genes += [Gene(f"stages[{s}].blocks[{b}].{name}", stage.choices(name), s, b) for name in stage.block_genes]
    return tuple(genes)


class GeneLayout:
    """Positions of the genes of a space's stages, and tables derived from them; computed once per space.

    Args:
        stages: the stages of the space.
    """

    def __init__(self, stages: Sequence[StageSpace]) -> None:
        self.stages = stages
        sizes = (len(stage.stage_genes) + len(stage.block_genes) * stage.depths[-1] for stage in stages)
        self.starts = list(accumulate(sizes, initial=_BEFORE_STAGES))

    @cached_property
    def present(self) -> list[npt.NDArray[np.bool_]]:
        """For each stage, which genes of its blocks are used at each depth, bool[depths, blocks * block genes]."""
        tables = []
        for stage in self.stages:
            blocks = np.arange(stage.depths[-1]) < np.asarray(stage.depths)[:, None]
            tables.append(np.repeat(blocks, len(stage.block_genes), axis=1))
        return tables

    @cached_property
    def blocks(self) -> list[npt.NDArray[np.object_]]:
        """For each stage, an array of every possible `Block`, with one axis for each block gene."""
        tables = []
        for stage in self.stages:
            choices = [stage.choices(name) for name in stage.block_genes]
            table = np.empty([len(known) for known in choices], dtype=object)
            for place in np.ndindex(table.shape):
                table[place] = Block(*(known[level] for known, level in zip(choices, place, strict=True)))
            tables.append(table)
        return tables


class GeneRows:
    """Access to gene rows by name. All results but `present` and `chosen` are views: writing to them writes to the rows.

    In the shapes below, `...` are all axes of `genes` but the last. `SearchSpace.columns` is a `GeneRows` over the column
    numbers 0, 1, 2, ..., so there the same names return column numbers.

    Args:
        layout: layout of the space.
        genes: [..., genes] of any type.
    """

    def __init__(self, layout: GeneLayout, genes: Rows) -> None:
        self.genes, self._layout, self._stages = genes, layout, layout.stages

    @property
    def resolution(self) -> Rows:
        """The gene of the resolution, [...]."""
        return self.genes[..., 0]

    @property
    def stem(self) -> Rows:
        """All genes of the stem, in the order of `STEM_GENES`, [..., 3]."""
        return self.genes[..., 1:_BEFORE_STAGES]

    def of_stem(self, name: str) -> Rows:
        """The gene of the stem with this name, out of `STEM_GENES`, [...]."""
        return self.stem[..., STEM_GENES.index(name)]

    def stage(self, stage: int) -> Rows:
        """All genes of a stage and its blocks, [..., genes of the stage]."""
        return self.genes[..., self._layout.starts[stage] : self._layout.starts[stage + 1]]

    def of_stage(self, name: str, stage: int) -> Rows:
        """The stage gene with this name, [...]."""
        return self.stage(stage)[..., self._stages[stage].stage_genes.index(name)]

    def width(self, stage: int) -> Rows:
        """The gene of a stage's width, [...]."""
        return self.of_stage("width", stage)

    def depth(self, stage: int) -> Rows:
        """The gene of a stage's depth, [...]."""
        return self.of_stage("depth", stage)

    def blocks(self, stage: int) -> Rows:
        """All genes of a stage's blocks, including blocks beyond its depth, [..., blocks, block genes]."""
        choices = self._stages[stage]
        genes = self.stage(stage)[..., len(choices.stage_genes) :]
        return genes.reshape(*genes.shape[:-1], choices.depths[-1], len(choices.block_genes))

    def block(self, name: str, stage: int) -> Rows:
        """The block gene with this name, of every block of a stage, [..., blocks]."""
        return self.blocks(stage)[..., self._stages[stage].block_genes.index(name)]

    def present(self) -> npt.NDArray[np.bool_]:
        """Mask of the genes in use, bool[..., genes]: false for blocks beyond a stage's depth."""
        mask = np.ones(self.genes.shape, dtype=np.bool_)
        of_mask = GeneRows(self._layout, mask)
        for s, (stage, table) in enumerate(zip(self._stages, self._layout.present, strict=True)):
            if len(stage.depths) > 1:
                of_mask.stage(s)[..., len(stage.stage_genes) :] = table.take(self.depth(s), axis=0)
        return mask

    def chosen(self, stage: int) -> list[Stage]:
        """One stage of each row decoded, a list of length n; the rows must be [n, genes]."""
        choices, table, genes = self._stages[stage], self._layout.blocks[stage], self.blocks(stage)
        blocks = table[tuple(genes[..., i] for i in range(table.ndim))].tolist()
        depths = [choices.depths[gene] for gene in self.depth(stage).tolist()]
        names = [name for name in choices.stage_genes if name != "depth"]
        values = [[choices.choices(name)[gene] for gene in self.of_stage(name, stage).tolist()] for name in names]
        return [
            Stage(blocks=tuple(row[:depth]), **dict(zip(names, of_stage, strict=True)))
            for row, depth, *of_stage in zip(blocks, depths, *values, strict=True)
        ]
