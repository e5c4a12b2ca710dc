"""Compare the logits of an exported file with those of its network, on the same images, in the runtime of its format."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ofa.deploy.formats.format import Images, Logits, Precision, Runner

TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "int8": 0.25}
"""Largest accepted RMS difference of logits, relative to their standard deviation. Kernels that sum in another order differ
by 1e-6, int8 by 0.01 to 0.1 on trained networks, a network with constant output by 1 or more."""
IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Check:
    """Difference between the outputs of a file and those of its network."""

    images: int
    largest_difference: float
    """Largest absolute difference of a logit."""
    relative_difference: float
    """RMS difference of the logits, relative to the standard deviation of the network's."""
    agreement: float
    """Fraction of the images for which both predict the same class."""
    top1: float | None
    """Accuracy of the file; None where labels are not known."""
    top1_network: float | None
    """Accuracy of the network on the same images, in float32."""

    def complaint(self, precision: Precision) -> str | None:
        """A message if the difference exceeds the tolerance of the precision, else None."""
        if self.relative_difference <= TOLERANCE[precision]:
            return None
        return (
            f"its logits differ from the network's by {self.relative_difference:.2g} of their deviation on {self.images} "
            f"images (largest difference {self.largest_difference:.2g}); {precision} allows {TOLERANCE[precision]:g}"
        )


def compare(runner: Runner, images: Images, expected: Logits, labels: npt.NDArray[np.int64] | None) -> Check:
    """Run images, uint8[n, side, side, channels], through a file; compare with the network's logits, float32[n, classes]."""
    given = np.concatenate([runner(images[i : i + IMAGES_AT_ONCE]) for i in range(0, len(images), IMAGES_AT_ONCE)])
    difference = given.astype(np.float64) - expected
    named, wanted = given.argmax(1), expected.argmax(1)
    spread = max(float(expected.std()), 1e-12)
    return Check(
        images=len(images),
        largest_difference=float(np.abs(difference).max()) if np.isfinite(difference).all() else float("inf"),
        relative_difference=float(np.nan_to_num(np.sqrt((difference**2).mean()) / spread, nan=np.inf)),
        agreement=float((named == wanted).mean()),
        top1=None if labels is None else float((named == labels).mean()),
        top1_network=None if labels is None else float((wanted == labels).mean()),
    )
