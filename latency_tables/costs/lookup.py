"""A cost of whole gene matrices: small tables, one matrix product for all their indices, one gather per table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latency_tables.arrays import Floats
from ofa.errors import UserError

MOST_ENTRIES = 16_384
"""Largest merged table: all tables of a space then fit the CPU's second-level cache (measured on mbv3-w1.2: 16 million
subnets/s with 10 tables, 0.3 MB in all; 12 million with 5 tables, 20 MB in all)."""
ROWS_AT_ONCE = 4096
"""Rows evaluated at a time, so few that their indices stay in the cache too."""
SERIAL_MACS = 200_000
"""Multiply-accumulates below which OpenBLAS stays on the calling thread. More threads gain nothing on so small a product
when the machine is idle, and cost a factor of ten when it is busy (measured: 0.45 against 14 million subnets/s)."""


@dataclass(frozen=True, eq=False)
class Term:
    """A term of a cost: float64 values over the gene columns (ascending) that it depends on, one axis each."""

    columns: tuple[int, ...]
    values: Floats

    def __post_init__(self) -> None:
        assert self.values.ndim == len(self.columns), (self.values.shape, self.columns)
        assert list(self.columns) == sorted(set(self.columns)), self.columns

    def squeeze(self) -> Term:
        """Drop the genes that have one choice."""
        kept = [axis for axis, size in enumerate(self.values.shape) if size > 1]
        return Term(tuple(self.columns[axis] for axis in kept), self.values.squeeze())

    def over(self, columns: Sequence[int]) -> Floats:
        """The values broadcastable over more columns."""
        sizes = dict(zip(self.columns, self.values.shape, strict=True))
        return self.values.reshape([sizes.get(column, 1) for column in columns])


class Lookup:
    """Terms of a cost, merged into small tables and combined by `reduce` (`np.add` or `np.maximum`)."""

    def __init__(self, genes: Sequence[tuple[str, int]], terms: Iterable[Term], reduce: np.ufunc = np.add) -> None:
        """`genes` gives the name and the number of choices of each column."""
        self.reduce = reduce
        self._names = [name for name, _ in genes]
        self._levels = np.array([levels for _, levels in genes], dtype=np.int64)
        self.terms = _merge(terms, self._levels, reduce)
        # Row t of the weights holds the strides of table t: index = genes @ weights.T. In float32, so that BLAS does it;
        # exact, because every partial sum is a whole number below 2**24.
        self._weights = np.zeros((len(self.terms), len(genes)), dtype=np.float32)
        for row, table in zip(self._weights, self.terms, strict=True):
            stride = 1
            for column, size in zip(reversed(table.columns), reversed(table.values.shape), strict=True):
                row[column] = stride
                stride *= size
            assert stride < 2**24, "a table's index must be exact in float32"
        self._values = [np.ascontiguousarray(table.values).reshape(-1) for table in self.terms]
        self._limits = np.tile(self._levels.clip(max=255).astype(np.uint8), ROWS_AT_ONCE)

    def __call__(self, genes: npt.ArrayLike) -> Floats:
        """Costs, float64[n], of genes of any integer type, [n, genes] or one row."""
        genes = np.atleast_2d(np.asarray(genes))
        if genes.ndim != 2 or genes.shape[1] != len(self._levels):
            raise UserError(f"genes have shape {genes.shape}; expected (n, {len(self._levels)})")
        if not np.issubdtype(genes.dtype, np.integer):
            raise UserError(f"genes are {genes.dtype}; they must be whole numbers (encode subnets with space.encode)")
        costs = np.empty(len(genes))
        rows = max(1, SERIAL_MACS // self._weights.size)
        index = np.empty((len(self.terms), ROWS_AT_ONCE), dtype=np.intp)
        for start in range(0, len(genes), ROWS_AT_ONCE):
            chunk = genes[start : start + ROWS_AT_ONCE]
            self._check(chunk, start)
            floats = chunk.astype(np.float32)
            for row in range(0, len(chunk), rows):
                part = floats[row : row + rows]
                index[:, row : row + len(part)] = np.dot(self._weights, part.T)
            out = costs[start : start + ROWS_AT_ONCE]
            out[:] = self._values[0].take(index[0, : len(chunk)])
            for values, position in zip(self._values[1:], index[1:, : len(chunk)], strict=True):
                self.reduce(out, values.take(position), out=out)
        return costs

    def _check(self, chunk: npt.NDArray[np.integer], start: int) -> None:
        fast = chunk.dtype == np.int8 and chunk.flags.c_contiguous  # negative int8 are large as uint8
        if fast and not (chunk.reshape(-1).view(np.uint8) >= self._limits[: chunk.size]).any():
            return
        wrong = np.argwhere((chunk < 0) | (chunk >= self._levels))
        if len(wrong):
            row, column = wrong[0]
            allowed = f"allowed are 0 to {self._levels[column] - 1}"
            raise UserError(f"row {start + row}: gene {self._names[column]} is {chunk[row, column]}; {allowed}")


def _merge(terms: Iterable[Term], levels: npt.NDArray[np.int64], reduce: np.ufunc) -> list[Term]:
    """Combine neighbours while the product of the levels they depend on stays small."""
    merged: list[Term] = []
    for term in terms:
        term = term.squeeze()
        if merged:
            columns = tuple(sorted({*merged[-1].columns, *term.columns}))
            if np.prod(levels[list(columns)], dtype=float) <= MOST_ENTRIES:
                merged[-1] = Term(columns, reduce(merged[-1].over(columns), term.over(columns)))
                continue
        merged.append(term)
    return merged
