"""The recipe's section `evaluation`: the numbers of subnets and images that are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ofa.files.bounds import AtLeast, AtMost, Bounded, Count


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Bounded):
    """Measurements during and after training, always on extracted, recalibrated subnets."""

    every_epochs: Count = 1
    """Epochs from one measurement to the next; the last epoch of a phase is always measured."""
    images: Count = 2000
    """Validation images on which subnets are measured after an epoch."""
    recalibration_images: Count = 1024
    """Training images for batch-norm statistics."""
    final_subnets: Annotated[int, AtLeast(0), AtMost(100_000)] = 20
    """Random subnets whose test accuracy is reported at the end."""
    batch_size: Count = 200
    """Images measured at once."""
