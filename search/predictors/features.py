"""Features of subnets, which the accuracy models use.

Every feature depends only on one stage and the resolution, so a model that is linear in the features (before its link
function) is stage-additive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ofa.errors import UserError
from ofa.space.search_space import Genes, SearchSpace
from search.arrays import Floats, Indices, Mask

FEATURE_SETS = ("choices", "choices+stages")


class FeatureMap:
    """Features of subnets of a space.

    `choices` is one indicator per gene and choice; those of absent blocks are all 0. `choices+stages` adds, for each stage,
    the logarithm of its depth, of its summed expand ratios and of its summed kernels (logarithms, because returns diminish),
    alone and times the centred logarithm of the resolution.
    """

    def __init__(self, space: SearchSpace, kind: str) -> None:
        if kind not in FEATURE_SETS:
            raise UserError(f"features are {kind!r}; known are {', '.join(FEATURE_SETS)}")
        self.space = space
        self.kind = kind
        levels = [np.arange(len(gene.choices)) if len(gene.choices) > 1 else np.arange(0) for gene in space.genes]
        self.gene = np.repeat(np.arange(len(levels)), [len(level) for level in levels])
        """The gene of each indicator, int64[indicators]."""
        self._level = np.concatenate(levels).astype(np.int8)

    def __call__(self, genes: Genes) -> Floats:
        """int8[n, genes] to float64[n, features]."""
        used = self.space.rows(genes).present()
        choices = self.choices(genes, used)
        if self.kind == "choices":
            return np.asarray(choices, dtype=np.float64)
        return np.concatenate([choices, self._stages(genes, used)], axis=1, dtype=np.float64)

    def choices(self, genes: Genes, used: Mask, columns: Indices | slice = slice(None)) -> Mask:
        """The indicators, or some columns of them, bool[n, columns]; `used` marks the genes of present blocks."""
        gene = self.gene[columns]
        return np.asarray((genes[:, gene] == self._level[columns]) & used[:, gene])

    def _stages(self, genes: Genes, used: Mask) -> Floats:
        resolutions = np.log(np.asarray(self.space.resolutions, dtype=np.float64))
        rows, in_use = self.space.rows(genes), self.space.rows(used)
        resolution = (resolutions - resolutions.mean())[rows.resolution]
        columns = []
        for s, stage in enumerate(self.space.stages):
            totals = []
            if len(stage.depths) > 1:
                totals.append(np.log(np.asarray(stage.depths, dtype=np.float64))[rows.depth(s)])
            for name in stage.block_genes:
                if len(stage.choices(name)) > 1:
                    totals.append(_log_sum(stage.choices(name), rows.block(name, s), in_use.block(name, s)))
            columns += [column for total in totals for column in (total, total * resolution)]
        return np.stack(columns, axis=1) if columns else np.zeros((len(genes), 0))


def _log_sum(choices: Sequence[float], genes: Genes, used: Mask) -> Floats:
    """Logarithm of a choice summed over the blocks in use, float64[n]."""
    return np.asarray(np.log((np.asarray(choices, dtype=np.float64)[genes] * used).sum(axis=1)))


def standard(features: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each feature; the latter infinite for a constant one, which is standardised to 0."""
    scale = features.std(axis=0)
    scale[scale < 1e-9] = np.inf
    return features.mean(axis=0), scale
