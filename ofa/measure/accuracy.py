"""Metrics of accuracy: top-1, and balanced accuracy, which weighs all classes equally. No torch here.

Each is a function of the number of correctly classified images of each class. Options, columns and keys of files that hold
an accuracy contain the metric's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ofa.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassCounts:
    """The number of images of each class, and of those that are classified correctly."""

    right: tuple[int, ...]
    images: tuple[int, ...]

    @classmethod
    def of(cls, right: Mask, labels: Labels, classes: int) -> ClassCounts:
        """Count images by class; `right`: bool[images], whether each is classified correctly, `labels`: int64[images]."""
        import numpy as np

        found = np.bincount(labels[right], minlength=classes), np.bincount(labels, minlength=classes)
        return cls(*(tuple(counts.tolist()) for counts in found))

    @property
    def by_class(self) -> list[float | None]:
        """Recall of each class, the fraction of its images classified correctly; None for a class without images."""
        return [right / images if images else None for right, images in zip(self.right, self.images, strict=True)]

    @property
    def unequal(self) -> bool:
        """True if the classes have different sizes, so that balanced accuracy differs from top-1."""
        return min(self.images) < max(self.images)


@dataclass(frozen=True)
class AccuracyMetric:
    """A metric of accuracy, in [0, 1]."""

    name: str
    """Its name in options, columns and keys."""
    label: str
    """Its name at the beginning of a line of text."""
    axis: str
    """Its name along the axis of a figure."""
    words: str
    """Its name inside a sentence."""
    value: Callable[[ClassCounts], float | None]
    """Computes the metric; None where it is not defined."""
    standard_error: Callable[[ClassCounts], float | None]
    """Computes the standard error of the value due to the sample of images; None where it cannot be estimated, because all
    images or none are classified correctly."""

    def per_group(self, right: Mask, labels: Labels, classes: int, groups: int) -> npt.NDArray[np.float64]:
        """The metric on consecutive groups of images, float64[groups]; an image has the same weight as in the whole set."""
        import numpy as np

        sizes = np.bincount(labels, minlength=classes)
        weights = np.ones(len(labels)) if self.name == "top1" else len(labels) / classes / sizes[labels]
        parts = zip(np.array_split(right * weights, groups), np.array_split(weights, groups), strict=True)
        return np.array([part.sum() / whole.sum() for part, whole in parts])


def _top1(counts: ClassCounts) -> float:
    return sum(counts.right) / sum(counts.images)


def _top1_error(counts: ClassCounts) -> float | None:
    """The binomial standard error."""
    top1 = _top1(counts)
    return None if top1 in (0, 1) else float((top1 * (1 - top1) / sum(counts.images)) ** 0.5)


def _balanced(counts: ClassCounts) -> float | None:
    """Mean recall; None where a class has no image."""
    recalls = [recall for recall in counts.by_class if recall is not None]
    return sum(recalls) / len(recalls) if len(recalls) == len(counts.images) else None


def _balanced_error(counts: ClassCounts) -> float | None:
    """The standard error of the mean recall: binomial in each class, and independent between classes."""
    recalls = [recall for recall in counts.by_class if recall is not None]
    if len(recalls) < len(counts.images):
        return None
    variance = sum(recall * (1 - recall) / images for recall, images in zip(recalls, counts.images, strict=True))
    return float(variance**0.5) / len(recalls) if variance > 0 else None


TOP1 = AccuracyMetric("top1", "Top-1", "Top-1 accuracy", "top-1", _top1, _top1_error)
BALANCED = AccuracyMetric(
    "balanced", "Balanced accuracy", "Balanced accuracy", "balanced accuracy", _balanced, _balanced_error
)
ACCURACIES = {metric.name: metric for metric in (TOP1, BALANCED)}
"""Every metric by its name."""


@dataclass(frozen=True)
class Draws:
    """An accuracy that depends on chance, measured over several draws on the same images."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the draws."""
        return sum(self.values) / len(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation of a draw, estimated from at least two."""
        return float((sum((value - self.mean) ** 2 for value in self.values) / (len(self.values) - 1)) ** 0.5)


def paired_gain(before: Mask, after: Mask) -> tuple[float, float]:
    """The gain in accuracy and its standard error; arguments: which of the same images were right, bool[n]."""
    import numpy as np

    changes = after.astype(np.float64) - before
    return float(changes.mean()), float(changes.std() / len(changes) ** 0.5)


def accuracy_named(name: object, place: str) -> AccuracyMetric:
    """The metric with the name that a file contains; raises `UserError`, beginning with `place`, for an unknown one."""
    if not isinstance(name, str) or name not in ACCURACIES:
        raise UserError(f"{place}: accuracy is {str(name)[:40]!r}; known are {', '.join(ACCURACIES)}")
    return ACCURACIES[name]
