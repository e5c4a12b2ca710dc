"""Unequal classes: images of rare classes counted more in the loss, or drawn more often."""

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
    """How classes of unequal size are balanced; off unless the recipe asks for it."""

    method: Annotated[str, OneOf((NONE, WEIGHTS, SAMPLING))] = NONE
    """`weights`: an image's loss is multiplied by the weight of its class. `sampling`: an epoch, as long as before, has the
    images of a class as many times more or less often. Both lead to the same gradient on average."""
    power: Annotated[float, Above(0), AtMost(1)] = 1.0
    """A class of n images has a weight in proportion to n to the power of -`power`: with 1 all classes count the same, with
    0.5 (Mahajan et al., arXiv:1805.00932) half-way, on a logarithmic scale."""

    def class_weights(self, labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64] | None:
        """The factor of each class in the loss, float64[classes], 1 on average over the images; None with other methods."""
        return weights_of(labels, classes, self.power) if self.method == WEIGHTS else None

    def sampling_weights(self, labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64] | None:
        """How often an image of each class is drawn in an epoch, float64[classes]; None with other methods."""
        return weights_of(labels, classes, self.power) if self.method == SAMPLING else None


def weights_of(labels: npt.NDArray[np.int64], classes: int, power: float) -> npt.NDArray[np.float64]:
    """Weights in proportion to n**-power of classes of n images, 1 on average over the images; float64[classes].

    A class without images has weight 0.
    """
    counts = np.bincount(labels, minlength=classes)
    raw = np.where(counts > 0, np.maximum(counts, 1.0) ** -power, 0.0)
    return np.asarray(raw * len(labels) / (counts * raw).sum())


def balanced_order(
    labels: npt.NDArray[np.int64], weights: npt.NDArray[np.float64], generator: torch.Generator
) -> npt.NDArray[np.int64]:
    """As many places as there are images, in random order, that hold each class in proportion to its weight.

    The places of a class are exact, to within one, and so are those of each of its images: an epoch varies less than one of
    independent draws.

    Args:
        labels: int64[n].
        weights: of each class; 1 on average over the images.
        generator: decides which images are drawn how often, and the order.

    Returns:
        Indices of images, int64[n]; with repetitions.
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
