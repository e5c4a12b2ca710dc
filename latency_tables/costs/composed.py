"""A cost that is the greatest of several sums; the parts of these are sums and maxima over blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latency_tables.arrays import Floats
from latency_tables.costs.factors import Factors


@dataclass(frozen=True, eq=False)
class ComposedFactors:
    """cost(subnet) = max over alternatives of the sum of its parts: a limit holds where every alternative is within it.

    All parts but the last of an alternative are maxima over blocks; the last one is a sum.
    """

    alternatives: tuple[tuple[Factors, ...], ...]

    def __call__(self, genes: npt.ArrayLike) -> Floats:
        """Costs of a gene matrix, float64[n]; raises `UserError` on a wrong shape or a gene out of range."""
        sums = [np.sum([part(genes) for part in parts], axis=0) for parts in self.alternatives]
        return np.asarray(np.maximum.reduce(sums))


CostFactors = Factors | ComposedFactors


def shared_memory(peak: Factors, planning: Factors, kept: Factors) -> ComposedFactors:
    """Memory `kept` throughout, plus the greater of a peak over blocks and a sum, which use the same memory in turn."""
    if planning.bound(greatest=True) <= peak.bound(greatest=False):
        return ComposedFactors(((peak, kept),))
    return ComposedFactors(((peak, kept), (planning.plus(kept),)))
