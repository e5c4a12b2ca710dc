"""The surrogate: a quick estimate of accuracy, by which a search decides which children are worth a prediction.

Whatever the predictor is, near a population its accuracy is close to additive: a sum of one number per gene and choice
explains nine tenths of the variance of the published mbv3-w1.2 predictor among subnets within one latency limit. Such a sum
costs a tenth of a microsecond per subnet, the prediction ten or more. So of many children the best by this surrogate is
predicted, and it is fitted anew to what was predicted last (ridge regression, a fraction of a millisecond).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ofa.space.search_space import Genes
from search.arrays import Floats
from search.problem.domain import Domain

RIDGE_PENALTY = 0.3
"""Weight of the squared weights in the loss, in samples."""


@dataclass(frozen=True)
class Surrogate:
    """Accuracy as a sum over the genes, up to a constant."""

    weights: dict[int, npt.NDArray[np.float32]]
    """The weight of each gene by its level, [genes]. The first level, and so an absent block, weighs nothing."""

    @classmethod
    def fit(cls, domain: Domain, genes: Genes, top1: Floats) -> Surrogate:
        """Fit to predicted subnets.

        Args:
            domain: what is searched.
            genes: int8[n, genes], canonical, n >= 1.
            top1: predicted accuracy, float64[n].
        """
        gene, level = domain.alternatives
        x = (genes.take(gene, axis=1) == level).astype(np.float32)
        x -= x.mean(axis=0)
        gram = x.T @ x + RIDGE_PENALTY * np.eye(len(gene), dtype=np.float32)
        weights = np.zeros((int(domain.space.levels.max()), genes.shape[1]), dtype=np.float32)
        weights[level, gene] = np.linalg.solve(gram, x.T @ (top1 - top1.mean()).astype(np.float32))
        return cls({number: row for number, row in enumerate(weights) if row.any()})  # of 25 resolutions few are tried

    def __call__(self, genes: Genes) -> Floats:
        """Estimated top-1 less a constant, float64[n]."""
        total = np.zeros(len(genes))
        for level, weights in self.weights.items():
            total += (genes == level).astype(np.float32) @ weights
        return total
