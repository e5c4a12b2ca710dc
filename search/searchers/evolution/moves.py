"""Moves: changes of a whole block, or of one other gene, from which the neighbours of a subnet are made."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from ofa.space.gene_rows import Gene
from ofa.space.search_space import Genes
from search.arrays import Indices
from search.problem.domain import Domain


@dataclass(frozen=True, eq=False)
class Moves:
    """Every choice of a block (all its genes together) and of each gene that belongs to no block.

    A move to a block beyond the depth of its stage makes the stage as deep as that block needs.
    """

    domain: Domain
    columns: Indices
    """The genes that a move sets, int64[moves, genes of a block]; one that sets fewer repeats its first gene."""
    levels: Genes
    """The levels they are set to, int8[moves, genes of a block]."""
    group: Indices
    """The block, or the gene, that a move sets, int64[moves]: moves of one group exclude each other."""
    depth: Indices
    """The gene of the depth of the stage, int64[moves]; for a move of no block, the gene that it sets."""
    least: Genes
    """The lowest level of that gene at which the block is present, int8[moves]."""

    @classmethod
    def of(cls, domain: Domain) -> Moves:
        """The moves within a domain; none where it has one subnet."""
        found: list[tuple[tuple[int, ...], tuple[int, ...], int, int, int]] = []
        for group, columns in enumerate(_groups(domain)):
            depth = _depth(domain, domain.space.genes[columns[0]])
            if depth is None:
                depth = columns[0], 0
            elif depth[1] < 0:
                continue
            choices = [domain.table[column, : domain.counts[column]].tolist() for column in columns]
            if max(map(len, choices)) > 1:
                found += [(columns, levels, group, *depth) for levels in product(*choices)]
        width = max((len(move[0]) for move in found), default=1)
        padded = [[(*part, *[part[0]] * (width - len(part))) for part in move[:2]] for move in found]
        return cls(
            domain,
            np.array([columns for columns, _ in padded], dtype=np.int64).reshape(-1, width),
            np.array([levels for _, levels in padded], dtype=np.int8).reshape(-1, width),
            np.array([move[2] for move in found], dtype=np.int64),
            np.array([move[3] for move in found], dtype=np.int64),
            np.array([move[4] for move in found], dtype=np.int8),
        )

    def __len__(self) -> int:
        return len(self.group)

    def apply(self, genes: Genes, moves: Indices) -> Genes:
        """Apply a move to each row, int8[n, genes], canonical; `moves` is int64[n], or [n, k]: k moves one after another."""
        domain, row = self.domain, np.arange(len(genes))
        moved = np.where(domain.space.rows(genes).present(), genes, domain.table[:, 0])  # blocks between, if a stage deepens
        for move in np.atleast_2d(moves.T):
            depth = self.depth[move]
            moved[row, depth] = np.maximum(moved[row, depth], self.least[move])
            moved[row[:, None], self.columns[move]] = self.levels[move]
        return domain.space.canonical(moved)


def _groups(domain: Domain) -> list[tuple[int, ...]]:
    """The genes of each block, and every other gene alone."""
    groups: dict[object, list[int]] = {}
    for column, gene in enumerate(domain.space.genes):
        groups.setdefault(gene.name if gene.block is None else (gene.stage, gene.block), []).append(column)
    return [tuple(columns) for columns in groups.values()]


def _depth(domain: Domain, gene: Gene) -> tuple[int, int] | None:
    """Gene of the depth of a block's stage, and its lowest level with that block (-1: none); None for a gene of no block."""
    if gene.stage is None or gene.block is None:
        return None
    column = int(domain.space.columns.depth(gene.stage))
    depths = domain.space.stages[gene.stage].depths
    levels = [level for level in domain.table[column, : domain.counts[column]].tolist() if depths[level] > gene.block]
    return column, min(levels, default=-1)
