"""Hashes of gene rows, by which equal subnets are found."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from ofa.space.search_space import Genes


def keys(genes: Genes) -> npt.NDArray[np.uint64]:
    """A 64-bit hash per row, uint64[n]; canonical rows of the same subnet have equal keys.

    The hash is a random linear form modulo 2**64. Two different rows collide with probability about 2**-62, so fewer than
    one in a million searches over a million subnets loses a subnet to a collision.
    """
    return np.asarray(genes.astype(np.uint64) @ _odd_numbers(genes.shape[1]), dtype=np.uint64)


@cache
def _odd_numbers(count: int) -> npt.NDArray[np.uint64]:
    return np.random.default_rng(20_191_208).integers(0, 2**64, size=count, dtype=np.uint64) | np.uint64(1)


def distinct(genes: Genes) -> Genes:
    """The rows without repetition, in order of first appearance; rows must be canonical."""
    return genes[np.sort(np.unique(keys(genes), return_index=True)[1])]
