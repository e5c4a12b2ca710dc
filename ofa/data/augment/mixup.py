"""Mixup and cutmix: pairs of images of a batch are blended, and their labels in the same proportion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ofa.files.bounds import Bounded, NotNegative


@dataclass(frozen=True, kw_only=True)
class MixConfig(Bounded):
    """Mixing of training images; off unless the recipe asks for it. With both, each batch gets one of them at random."""

    mixup: NotNegative = 0.0
    """Parameter of the beta distribution, Beta(a, a), of an image's weight (Zhang et al., arXiv:1710.09412); 0: off."""
    cutmix: NotNegative = 0.0
    """The same for the area of the rectangle that comes from the other image (Yun et al., arXiv:1905.04899)."""

    @property
    def used(self) -> bool:
        """True where anything is mixed."""
        return self.mixup > 0 or self.cutmix > 0


def mix(images: Tensor, labels: Tensor, classes: int, config: MixConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mix each image with its neighbour, all in the same proportion; the last of an odd number stays as it is.

    Neighbours are used so that a rank with an even share of the batch needs no image of another rank.

    Args:
        images: float32[batch, channels, height, width], in random order.
        labels: int64[batch].
        classes: number of classes.
        config: settings in which mixup or cutmix is on.
        rng: source of the proportion and the rectangle.

    Returns:
        The mixed images, and the label probabilities, float32[batch, classes].
    """
    cut = config.cutmix > 0 and (config.mixup == 0 or rng.random() < 0.5)
    parameter = config.cutmix if cut else config.mixup
    weight = float(rng.beta(parameter, parameter))  # of the image against its neighbour; lambda in the papers
    neighbours = (
        torch.arange(len(images), device=images.device).bitwise_xor_(1).clamp_(max=len(images) - 1)
    )  # 1, 0, 3, 2, ...
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


def _interval(side: int, fraction: float, rng: np.random.Generator) -> slice:
    """An interval around a random centre, of a fraction of the side, cut at the image's edges."""
    centre, half = rng.integers(side), round(side * fraction) // 2
    return slice(max(0, int(centre) - half), min(side, int(centre) + half))
