"""The surrogate: a cheap estimate of accuracy, by which a search chooses the children that are worth a prediction.

Near a population, the accuracy is close to additive, whatever the predictor: a sum of one number per gene and choice
explains nine tenths of the variance of the published mbv3-w1.2 predictor among subnets within one latency limit. Such a sum
takes a tenth of a microsecond per subnet, a prediction ten microseconds or more. So only those of many children that the
surrogate ranks best are predicted, and the surrogate is refitted to the latest predictions (ridge regression, a fraction of
a millisecond).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ofa.space.search_space import Genes
from search.arrays import Floats
from search.problem.domain import Domain

RIDGE_PENALTY = 0.3
"""Penalty on the squared weights, in units of the squared error of one sample."""


@dataclass(frozen=True)
class Surrogate:
    """Accuracy as a sum over the genes, up to a constant."""

    weights: dict[int, npt.NDArray[np.float32]]
    """Weights by level, float32[genes] each. The first level of a gene has weight 0, and so has an absent block."""

    @classmethod
    def fit(cls, domain: Domain, genes: Genes, top1: Floats) -> Surrogate:
        """Fit to predicted subnets, int8[n >= 1, genes], canonical, and their top-1, float64[n]."""
        gene, level = domain.alternatives
        x = (genes.take(gene, axis=1) == level).astype(np.float32)
        x -= x.mean(axis=0)
        gram = x.T @ x + RIDGE_PENALTY * np.eye(len(gene), dtype=np.float32)
        weights = np.zeros((int(domain.space.levels.max()), genes.shape[1]), dtype=np.float32)
        weights[level, gene] = np.linalg.solve(gram, x.T @ (top1 - top1.mean()).astype(np.float32))
        return cls({number: row for number, row in enumerate(weights) if row.any()})  # levels without data are left out

    def __call__(self, genes: Genes) -> Floats:
        """Estimated top-1 up to a constant, float64[n]."""
        total = np.zeros(len(genes))
        for level, weights in self.weights.items():
            total += (genes == level).astype(np.float32) @ weights
        return total
