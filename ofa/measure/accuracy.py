"""Metrics of accuracy: top-1, and balanced accuracy, in which every class counts the same. No torch here.

All are functions of how many images of each class are classified right. Whatever holds an accuracy says which by its name:
options, columns and keys of files are made from it.
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
    """Images of each class, and how many of them are classified right."""

    right: tuple[int, ...]
    images: tuple[int, ...]

    @classmethod
    def of(cls, right: Mask, labels: Labels, classes: int) -> ClassCounts:
        """Count what is right, bool[images], by label, int64[images]."""
        import numpy as np

        found = np.bincount(labels[right], minlength=classes), np.bincount(labels, minlength=classes)
        return cls(*(tuple(counts.tolist()) for counts in found))

    @property
    def by_class(self) -> list[float | None]:
        """Fraction of each class's images that is right (its recall); None for a class without images."""
        return [right / images if images else None for right, images in zip(self.right, self.images, strict=True)]

    @property
    def unequal(self) -> bool:
        """True where the classes are of different sizes, so that balanced accuracy is not top-1."""
        return min(self.images) < max(self.images)


@dataclass(frozen=True)
class AccuracyMetric:
    """A metric of accuracy, in [0, 1]."""

    name: str
    """In options, columns and keys."""
    label: str
    """For people, at the beginning of a line."""
    axis: str
    """For people, along an axis."""
    words: str
    """For people, inside a sentence."""
    value: Callable[[ClassCounts], float | None]
    """None where it is not defined."""
    standard_error: Callable[[ClassCounts], float | None]
    """Of the value, as the images are a sample; None where it cannot be told: all or none are right, be they ever so few."""

    def per_group(self, right: Mask, labels: Labels, classes: int, groups: int) -> npt.NDArray[np.float64]:
        """The fraction of each group of images that is right, float64[groups]; an image weighs as it does on the whole."""
        import numpy as np

        sizes = np.bincount(labels, minlength=classes)
        weights = np.ones(len(labels)) if self.name == "top1" else len(labels) / classes / sizes[labels]
        parts = zip(np.array_split(right * weights, groups), np.array_split(weights, groups), strict=True)
        return np.array([part.sum() / whole.sum() for part, whole in parts])


def _top1(counts: ClassCounts) -> float:
    return sum(counts.right) / sum(counts.images)


def _top1_error(counts: ClassCounts) -> float | None:
    """Binomial."""
    top1 = _top1(counts)
    return None if top1 in (0, 1) else float((top1 * (1 - top1) / sum(counts.images)) ** 0.5)


def _balanced(counts: ClassCounts) -> float | None:
    """Mean recall; None where a class has no image."""
    recalls = [recall for recall in counts.by_class if recall is not None]
    return sum(recalls) / len(recalls) if len(recalls) == len(counts.images) else None


def _balanced_error(counts: ClassCounts) -> float | None:
    """Binomial in each class; images of different classes err independently."""
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


def accuracy_named(name: object, place: str) -> AccuracyMetric:
    """The metric of a name that a file has; raises `UserError` for an unknown one."""
    if not isinstance(name, str) or name not in ACCURACIES:
        raise UserError(f"{place}: accuracy is {str(name)[:40]!r}; known are {', '.join(ACCURACIES)}")
    return ACCURACIES[name]
