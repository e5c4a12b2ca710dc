"""The recipe's section `evaluation`: how many subnets and images are measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured while training and at the end, always on extracted, recalibrated subnets."""

    every_epochs: int = 1
    images: int = 2000
    """Validation images looked at after an epoch."""
    recalibration_images: int = 1024
    """Training images for batch-norm statistics."""
    final_subnets: int = 20
    """Random subnets whose test accuracy is reported at the end."""
    batch_size: int = 200

    def __post_init__(self) -> None:
        for name in ("every_epochs", "images", "recalibration_images", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; must be at least 1")
        if self.final_subnets < 0:
            raise ValueError(f"final_subnets is {self.final_subnets}; must be at least 0")
