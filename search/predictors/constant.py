"""Accuracy where all subnets measured the same, as on an easy data set: one number, so the cheapest subnet is the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ofa.space.search_space import Genes, SearchSpace
from search.arrays import Floats


@dataclass(frozen=True, kw_only=True)
class ConstantPredictor:
    """The one top-1 that every measured subnet has; how sure it is of another subnet, equal measurements cannot tell."""

    kind: ClassVar[str] = "constant"

    space: SearchSpace
    value: float
    """Top-1, in [0, 1]."""
    samples: int
    """Subnets measured."""

    def top1(self, genes: Genes) -> Floats:
        """The constant, float64[n]."""
        return np.full(len(genes), self.value)

    def std(self, genes: Genes) -> None:
        """None: unknown."""
        return

    def score(self, genes: Genes) -> Floats:
        """Zeros, float64[n]: no subnet is ahead."""
        return np.zeros(len(genes))

    def stage_scores(self, genes: Genes, base: Genes) -> Floats:
        """Zeros, float64[resolutions, n]."""
        return np.zeros((len(self.space.resolutions), len(genes)))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that are stored."""
        return {"value": np.array(self.value)}

    def facts(self) -> dict[str, Any]:
        """The numbers that are stored as JSON: none but the samples, which every predictor has."""
        return {}

    @classmethod
    def restore(
        cls, space: SearchSpace, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]
    ) -> ConstantPredictor:
        """The inverse of `arrays` and `facts`; raises `ValueError` for what is no accuracy."""
        value = float(arrays["value"])
        if not 0 <= value <= 1:
            raise ValueError(f"value is {value}; must be between 0 and 1")
        return cls(space=space, value=value, samples=int(facts["samples"]))

    def describe(self) -> str:
        """The choices of the fit, for people."""
        return f"accuracy {self.value:g} for every subnet"


def fit_constant(space: SearchSpace, genes: Genes, top1: Floats) -> ConstantPredictor:
    """The mean of measured top-1, float64[n]."""
    return ConstantPredictor(space=space, value=float(np.mean(top1)), samples=len(genes))
