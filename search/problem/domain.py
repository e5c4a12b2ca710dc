"""The domain of a search, a space or a subspace: drawing subnets at random, and varying them without leaving it.

Genes always index the choices of the whole space, also when the search is confined to a subspace.
"""

from __future__ import annotations

import numpy as np

from ofa.errors import UserError
from ofa.space.search_space import Genes, SearchSpace
from ofa.space.subspace import is_subspace
from search.arrays import Floats, Indices, Mask
from search.rows import distinct, keys


class Domain:
    """The subnets that a search may return: sampling, crossover, mutation, neighbours.

    Args:
        space: the space whose genes are used.
        part: a subspace to stay in (`space.restrict(...)`); the whole space by default.

    Raises:
        UserError: `part` is not a subspace of `space`.
    """

    def __init__(self, space: SearchSpace, part: SearchSpace | None = None) -> None:
        if part is not None and (len(part.stages) != len(space.stages) or not is_subspace(part, space)):
            raise UserError(f"{space.name}: the subspace {part.name} has choices that the space does not have")
        self.space = space
        self.count = (part or space).count()
        inside = {} if part is None else {gene.name: gene.choices for gene in part.genes}
        allowed = [[i for i, it in enumerate(g.choices) if it in inside.get(g.name, g.choices)] for g in space.genes]
        self.counts = np.array([len(levels) for levels in allowed])
        self.table = np.zeros((len(allowed), max(self.counts)), dtype=np.int8)
        for row, levels in zip(self.table, allowed, strict=True):
            row[: len(levels)] = levels
        self._columns = np.arange(len(allowed))
        moves = [(gene, level) for gene, levels in enumerate(allowed) if len(levels) > 1 for level in levels]
        self._move_gene = np.array([gene for gene, _ in moves], dtype=np.int64)
        self._move_level = np.array([level for _, level in moves], dtype=np.int8)
        later = self._move_level > 0
        self.alternatives = self._move_gene[later], self._move_level[later]
        """Gene and level of every choice but the first of each gene: the indicators that tell subnets apart."""
        self._move_grows = np.array([space.genes[gene].name.endswith("depth") for gene, _ in moves], dtype=np.bool_)

    # -- drawing -------------------------------------------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator) -> Genes:
        """`n` subnets, every gene drawn uniformly; int8[n, genes], canonical."""
        return self.space.canonical(self._levels(rng.random((n, len(self.counts)))))

    def sample_sizes(self, n: int, rng: np.random.Generator) -> Genes:
        """`n` subnets of all sizes, int8[n, genes], canonical: a random exponent tilts each row to small or to large
        choices.

        Subnets of uniform choices are all of nearly the same size; a tight or a loose budget needs others.
        """
        exponent = np.exp(rng.uniform(-3, 3, size=(n, 1)))
        return self.space.canonical(self._levels(rng.random((n, len(self.counts))) ** exponent))

    def extremes(self) -> Genes:
        """The smallest and the largest subnet, int8[2, genes]."""
        ends = np.stack([self.table[:, 0], self.table[self._columns, self.counts - 1]])
        return self.space.canonical(ends)

    def contains(self, genes: Genes) -> Mask:
        """Tell of each canonical row whether it is one of this domain's subnets, bool[n]."""
        inside = (genes[:, :, None] == self.table[None]) & (np.arange(self.table.shape[1]) < self.counts[:, None])
        return np.asarray((inside.any(axis=2) | ~self.space.rows(genes).present()).all(axis=1))

    def _levels(self, quantiles: Floats) -> Genes:
        index = np.minimum((quantiles * self.counts).astype(np.int64), self.counts - 1)
        return np.asarray(self.table[self._columns, index])

    # -- varying -------------------------------------------------------------------------------------------------------

    def grown(self, genes: Genes, rng: np.random.Generator) -> Genes:
        """The rows with random choices filled in for absent blocks, which deeper children can inherit; not canonical."""
        grown = genes.copy()
        place = np.flatnonzero(~self.space.rows(genes).present())
        grown.ravel()[place] = self._draw(place % genes.shape[1], rng)
        return grown

    def vary(self, mothers: Genes, fathers: Genes, crossed: int, changes: float, rng: np.random.Generator) -> Genes:
        """A child of each mother: uniform crossover for the first `crossed` ones, then random reset of genes for all.

        On average `changes` genes of a child take a new uniform value; random numbers are drawn only for these.
        Crossover selects genes by the bits of a mask, which is fifteen times as fast as `np.where`.

        Args:
            mothers: int8[n, genes], as `grown` returns them.
            fathers: int8[at least crossed, genes], as `grown` returns them.
            crossed: number of children, from the first on, that inherit each gene from either parent.
            changes: mean number of genes reset per child.
            rng: source of randomness.

        Returns:
            int8[n, genes], canonical.
        """
        children, genes = mothers.copy(), mothers.shape[1]
        row = -(-genes // 8)
        bits = np.frombuffer(rng.bytes(crossed * row), dtype=np.uint8).reshape(crossed, row)
        mask = -np.unpackbits(bits, axis=1, count=genes).view(np.int8)  # 0, or -1: all bits
        children[:crossed] ^= (children[:crossed] ^ fathers[:crossed]) & mask

        elastic = np.flatnonzero(self.counts > 1)
        resets = min(round(changes * len(mothers)), len(elastic) * len(mothers))
        gene = elastic[rng.integers(0, max(1, len(elastic)), size=resets)]
        children[rng.integers(0, len(mothers), size=resets), gene] = self._draw(gene, rng)
        return self.space.canonical(children) if self.space.compound else children * self.space.rows(children).present()

    def mutate(self, genes: Genes, changes: float, rng: np.random.Generator) -> Genes:
        """Random reset: on average `changes` genes per row take a new uniform value; int8[n, genes], canonical."""
        return self.vary(self.grown(genes, rng), genes, 0, changes, rng)

    def neighbours(self, genes: Genes) -> Genes:
        """Every subnet that differs in one gene from one of the rows; distinct, without the rows themselves.

        Blocks that a deeper neighbour adds have the smallest choices or the largest.
        """
        if not len(self._move_gene):
            return genes[:0]
        low, high = self.table[:, 0], self.table[self._columns, self.counts - 1]
        used = self.space.rows(genes).present()
        every = np.ones(len(self._move_gene), dtype=np.bool_)
        parts = [self._moved(np.where(used, genes, low), every), self._moved(np.where(used, genes, high), self._move_grows)]
        around = distinct(self.space.canonical(np.concatenate(parts)))
        return around[~np.isin(keys(around), keys(genes))]

    def _moved(self, genes: Genes, moves: Mask) -> Genes:
        gene, level = self._move_gene[moves], self._move_level[moves]
        moved = np.repeat(genes, len(gene), axis=0)
        moved[np.arange(len(moved)), np.tile(gene, len(genes))] = np.tile(level, len(genes))
        return moved

    def _draw(self, gene: Indices, rng: np.random.Generator) -> Genes:
        """A uniform choice for each of some genes, int8[n]."""
        return np.asarray(self.table[gene, rng.integers(0, self.counts[gene])])
