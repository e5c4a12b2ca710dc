"""Mixup and cutmix: images of a batch blended in pairs, and their labels with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ofa.files.bounds import Bounded, NotNegative


@dataclass(frozen=True, kw_only=True)
class MixConfig(Bounded):
    """Off unless the recipe asks for it; with both, each batch is mixed by one of them, at random."""

    mixup: NotNegative = 0.0
    """Both parameters of the beta distribution of an image's weight (Zhang et al., arXiv:1710.09412); 0 is off."""
    cutmix: NotNegative = 0.0
    """The same for the area of a rectangle that comes from the other image (Yun et al., arXiv:1905.04899)."""

    @property
    def used(self) -> bool:
        """True where anything is mixed."""
        return self.mixup > 0 or self.cutmix > 0


def mix(images: Tensor, labels: Tensor, classes: int, config: MixConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mix each image with its neighbour, all in the same proportion; the last of an odd number stays as it is.

    Neighbours, so that a process whose share of the batch is even needs no image of another process.

    Args:
        images: float32[batch, channels, height, width], in random order.
        labels: int64[batch].
        classes: number of classes.
        config: at least one of mixup and cutmix is on.
        rng: draws the proportion and the rectangle.

    Returns:
        The mixed images, and probabilities, float32[batch, classes].
    """
    cut = config.cutmix > 0 and (config.mixup == 0 or rng.random() < 0.5)
    parameter = config.cutmix if cut else config.mixup
    weight = float(rng.beta(parameter, parameter))  # of the image itself: lambda in the papers
    neighbours = _neighbours(len(images), images.device)
    other = images[neighbours]
    if cut:
        rows, columns = (_interval(side, (1 - weight) ** 0.5, rng) for side in images.shape[2:])
        images = images.clone()
        images[:, :, rows, columns] = other[:, :, rows, columns]
        height, width = images.shape[2:]
        weight = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    else:
        images = images.lerp(other, 1 - weight)
    targets = images.new_zeros(len(labels), classes).scatter_(1, labels.unsqueeze(1), 1.0)
    return images, targets.lerp(targets[neighbours], 1 - weight)


def _neighbours(count: int, device: torch.device) -> Tensor:
    """1, 0, 3, 2, ..., int64[count]."""
    return torch.arange(count, device=device).bitwise_xor_(1).clamp_(max=count - 1)


def _interval(side: int, fraction: float, rng: np.random.Generator) -> slice:
    """A fraction of a side around a random centre, cut off at the image's edges."""
    centre, half = rng.integers(side), round(side * fraction) // 2
    return slice(max(0, int(centre) - half), min(side, int(centre) + half))
