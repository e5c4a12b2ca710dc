"""Balance classes of unequal size: images of rare classes weigh more in the loss, or are drawn more often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch

from ofa.files.bounds import Above, AtMost, Bounded, OneOf

NONE, WEIGHTS, SAMPLING = "none", "weights", "sampling"


@dataclass(frozen=True, kw_only=True)
class BalanceConfig(Bounded):
    """Balancing of classes of unequal size; off unless the recipe asks for it."""

    method: Annotated[str, OneOf((NONE, WEIGHTS, SAMPLING))] = NONE
    """`weights`: an image's loss is multiplied by the weight of its class. `sampling`: an image is drawn with a frequency
    in proportion to that weight, in an epoch of unchanged length. Both have the same expected gradient."""
    power: Annotated[float, Above(0), AtMost(1)] = 1.0
    """The weight of a class of n images is in proportion to n to the power of -`power`: 1 weighs all classes equally; 0.5 is
    half-way on a logarithmic scale (Mahajan et al., arXiv:1805.00932)."""

    def class_weights(self, labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64] | None:
        """The factor of each class in the loss, float64[classes], on average 1 over the images; None with other methods."""
        return weights_of(labels, classes, self.power) if self.method == WEIGHTS else None

    def sampling_weights(self, labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64] | None:
        """Mean number of draws of an image of each class in an epoch, float64[classes]; None with other methods."""
        return weights_of(labels, classes, self.power) if self.method == SAMPLING else None


def weights_of(labels: npt.NDArray[np.int64], classes: int, power: float) -> npt.NDArray[np.float64]:
    """The weight of each class, in proportion to n**-power for n images, on average 1 over the images; float64[classes].

    A class without images has weight 0.
    """
    counts = np.bincount(labels, minlength=classes)
    raw = np.where(counts > 0, np.maximum(counts, 1.0) ** -power, 0.0)
    return np.asarray(raw * len(labels) / (counts * raw).sum())


def balanced_order(
    labels: npt.NDArray[np.int64], weights: npt.NDArray[np.float64], generator: torch.Generator
) -> npt.NDArray[np.int64]:
    """Draw an epoch of n images in random order, each class in proportion to its number of images times its weight.

    The number of draws of a class, and of each of its images, is exact to within one, so that epochs vary less than with
    independent draws.

    Args:
        labels: int64[n], the class of each image.
        weights: float64[classes], the weight of each class, on average 1 over the images.
        generator: decides which images are drawn how often, and their order.

    Returns:
        Indices of the drawn images, int64[n], with repetitions.
    """
    counts = np.bincount(labels, minlength=len(weights))
    ends = np.rint(np.cumsum(counts * weights)).astype(np.int64)  # rounded once, so that the sum is n
    places = np.diff(ends, prepend=0)
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    drawn = [
        np.resize(images[torch.randperm(len(images), generator=generator).numpy()], wanted)  # repeats them in turn
        for images, wanted in zip(members, places, strict=True)
    ]
    order: npt.NDArray[np.int64] = np.concatenate(drawn)[torch.randperm(len(labels), generator=generator).numpy()]
    return order
