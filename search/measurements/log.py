"""Measured accuracies of subnets: an append-only JSONL file that survives a kill, so that no subnet is measured twice.

Each line holds the genes, the metrics of accuracy by name, the number of validation images, the correct answers in each
tenth of them (from which `measurements.noise` estimates the measuring error) and in each class, the digest of the supernet's
weights and the fingerprint of its space. The predictor's sample, verified queries and measured fronts share one file,
whichever metric they ask for.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError
from ofa.files.atomic import append_line, drop_half_a_line
from ofa.files.bundle import Place, as_place
from ofa.files.vouched import read_vouched_line, vouched_line
from ofa.measure.accuracy import BALANCED, TOP1, AccuracyMetric, ClassCounts
from ofa.space.search_space import Genes, SearchSpace
from search.arrays import Floats, Mask
from search.problem.domain import Domain
from search.statistics import standard_error

Evaluate = Callable[[Genes], Mask]
MapRows = Callable[[Evaluate, Genes], Iterable[Mask]]
IMAGE_GROUPS = 10
"""Groups of the validation images in which correct answers are counted."""
AGAIN = "remove the line to measure that subnet again"


@dataclass
class MeasurementLog:
    """The measurements of one set of weights on a fixed number of validation images; use `open`."""

    path: Place | None
    """The file; new measurements of a bundle, which is read-only, and without a file (None) are kept in memory alone."""
    space: SearchSpace
    weights: str
    """Digest of the supernet's weights."""
    images: int
    """Validation images per measurement."""
    accuracy: AccuracyMetric = TOP1
    """The metric that the methods return."""
    labels: npt.NDArray[np.int64] | None = None
    """Labels of the images, int64[images]; without them only top-1 can be measured."""
    known: dict[bytes, float] = field(default_factory=dict)
    """The metric by the bytes of the genes."""
    groups: dict[bytes, list[float]] = field(default_factory=dict)
    """The metric on each group of the images; lines of versions before 0.2 have none."""
    errors: dict[bytes, float | None] = field(default_factory=dict)
    """Standard error of the metric; None where it cannot be estimated."""

    @classmethod
    def open(
        cls,
        path: str | Place,
        space: SearchSpace,
        weights: str,
        images: int,
        accuracy: AccuracyMetric = TOP1,
        labels: npt.NDArray[np.int64] | None = None,
    ) -> MeasurementLog:
        """Read the measurements; drops a line cut short by a kill, skips lines on another number of images.

        Lines of earlier versions that hold top-1 alone are no measurements of another metric.

        Raises:
            UserError: a line is damaged, or was measured on another space or other weights; or the metric is not defined on
                these images.
        """
        place = as_place(path)
        log = cls(place, space, weights, images, accuracy, labels)
        log.check_classes()
        if place.exists():
            if isinstance(place, Path):
                drop_half_a_line(place)
            for number, line in enumerate(place.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
                log._read(f"{place}:{number}", line)
        return log

    def reopened(self) -> MeasurementLog:
        """The log read anew, with the lines that other processes have appended since."""
        assert self.path is not None
        return self.open(self.path, self.space, self.weights, self.images, self.accuracy, self.labels)

    def values(self, genes: Genes) -> Floats:
        """The metric of rows that have been measured, float64[n]."""
        return np.array([self.known[row.tobytes()] for row in genes], dtype=np.float64)

    def top1(
        self,
        genes: Genes,
        measure: Evaluate,
        progress: Callable[[Genes], Iterable[Genes]] | None = None,
        map_rows: MapRows = map,
    ) -> Floats:
        """Measured accuracy of canonical rows, float64[n]; unknown ones are measured, and appended one by one.

        Args:
            genes: int8[n, genes].
            measure: takes one row of genes, returns which images that subnet classifies correctly, bool[images].
            progress: wraps the rows that have to be measured (a progress bar).
            map_rows: applies `measure` to all rows, in order, in this process or in several.
        """
        new = {row.tobytes(): row for row in genes if row.tobytes() not in self.known}  # a row may be asked for twice
        rows = np.array(list(new.values()), dtype=np.int8).reshape(-1, genes.shape[1])
        rows = np.unique(rows, axis=0)  # sorted, so that subnets with equal first blocks are neighbours, and share that work
        shown = progress(rows) if progress and len(rows) else rows
        for right, row in zip(map_rows(measure, rows), shown, strict=True):
            self._append(row, right)
        return self.values(genes)

    def has(self, genes: Genes) -> list[bool]:
        """Tell for each row whether it has been measured."""
        return [row.tobytes() in self.known for row in genes]

    def by_group(self, genes: Genes) -> Floats | None:
        """The metric on each group of the images, float64[n, groups]; None if it was not recorded for some row."""
        values = [self.groups.get(row.tobytes()) for row in genes]
        return None if None in values else np.array(values, dtype=np.float64).reshape(len(genes), self._group_count)

    def standard_error(self, genes: Genes) -> Floats:
        """Standard error of measured rows due to the number of images, float64[n]; NaN where it cannot be estimated."""
        return np.array([self.errors[row.tobytes()] for row in genes], dtype=np.float64)

    @property
    def _group_count(self) -> int:
        return min(IMAGE_GROUPS, self.images)

    def _append(self, row: Genes, right: Mask) -> None:
        assert right.shape == (self.images,)
        entry: dict[str, Any] = {
            "genes": row.tolist(),
            "top1": float(right.mean()),
            "images": self.images,
            "correct": [int(group.sum()) for group in np.array_split(right, self._group_count)],
            "split": "validation",
            "space": self.space.fingerprint,
            "weights": self.weights,
        }
        if self.labels is not None:
            entry |= self._by_class(right, self.labels)
        if isinstance(self.path, Path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_line(self.path, vouched_line(entry))
        self._note(str(self.path), row.tobytes(), entry)

    def _by_class(self, right: Mask, labels: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Additional keys of a line: results by class."""
        counts = ClassCounts.of(right, labels, self.space.classes)
        balanced = BALANCED.value(counts)
        facts: dict[str, Any] = {BALANCED.name: balanced, "right_by_class": list(counts.right)}
        if balanced is not None:
            groups = BALANCED.per_group(right, labels, self.space.classes, self._group_count)
            facts["balanced_by_group"] = groups.tolist()
        return facts

    def _read(self, place: str, line: str) -> None:
        entry = read_vouched_line(line, place, AGAIN)
        try:
            genes, top1, images = entry["genes"], float(entry["top1"]), entry["images"]
            space, weights = entry["space"], entry["weights"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{place}: not a measurement ({error}); {AGAIN}") from None
        if space != self.space.fingerprint:
            raise UserError(
                f"{place}: measured on a space with fingerprint {space}; {self.space.name} has {self.space.fingerprint}"
            )
        if weights != self.weights:
            raise UserError(
                f"{place}: measured on weights {weights}; the run has {self.weights} now; "
                "move the file away to measure again"
            )
        if not 0 <= top1 <= 1:
            raise UserError(f"{place}: top1 is {top1}; must be between 0 and 1")
        self.space.decode(genes)
        if images == self.images and entry.get(self.accuracy.name) is not None:
            self._note(place, np.array(genes, dtype=np.int8).tobytes(), entry)

    def _note(self, place: str, key: bytes, entry: Mapping[str, Any]) -> None:
        """Read the metric that this log returns from a line."""
        if self.accuracy is TOP1:
            self.known[key] = top1 = float(entry["top1"])
            self.errors[key] = float(standard_error(np.array(top1), self.images))
            if "correct" in entry:
                sizes = [len(group) for group in np.array_split(np.zeros(self.images), self._group_count)]
                self.groups[key] = [right / size for right, size in zip(self._counts(place, entry), sizes, strict=True)]
            return
        assert self.labels is not None
        images = np.bincount(self.labels, minlength=self.space.classes).tolist()
        try:
            right = list(map(int, entry["right_by_class"]))
            groups = list(map(float, entry["balanced_by_group"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{place}: not a measurement of {self.accuracy.words} ({error}); {AGAIN}") from None
        whole = round(entry["top1"] * self.images)
        if len(right) != len(images) or sum(right) != whole or any(map(operator.gt, right, images)):
            raise UserError(
                f"{place}: right_by_class is {str(right)[:80]}; must be {len(images)} counts of at most {str(images)[:80]} "
                f"that add up to {whole}: {AGAIN}"
            )
        counts = ClassCounts(tuple(right), tuple(images))
        value = self.accuracy.value(counts)
        assert value is not None, "checked when the log was opened"
        self.known[key], self.errors[key] = value, self.accuracy.standard_error(counts)
        self.groups[key] = groups

    def _counts(self, place: str, entry: Mapping[str, Any]) -> list[int]:
        counts, groups, right = entry["correct"], self._group_count, round(entry["top1"] * self.images)
        if not isinstance(counts, list) or len(counts) != groups or sum(map(int, counts)) != right:
            raise UserError(f"{place}: correct is {counts}; must be {groups} counts that add up to {right}")
        return counts

    def check_classes(self) -> None:
        """Raise `UserError` if the metric is not defined on these images."""
        if self.accuracy is TOP1:
            return
        if self.labels is None:
            raise UserError(f"{self.path}: {self.accuracy.words} needs the labels of the images")
        missing = np.flatnonzero(np.bincount(self.labels, minlength=self.space.classes) == 0)
        if len(missing):
            raise UserError(
                f"{self.accuracy.words} needs images of every class; number {missing[0]} has none of the {self.images} "
                f"validation images: measure on more, or ask for {TOP1.words}"
            )


def sample_plan(space: SearchSpace, samples: int, rng: np.random.Generator) -> Genes:
    """The subnets to measure: the largest, the smallest, then distinct random ones; a longer plan extends a shorter one.

    Raises:
        UserError: `samples` is below 2, or above the number of subnets in the space.
    """
    if samples < 2:
        raise UserError(f"samples is {samples}; must be at least 2")
    if samples > space.count():
        raise UserError(f"samples is {samples}, but {space.name} has only {space.count()} subnets")
    plan: dict[bytes, Sequence[int]] = {}
    for row in Domain(space).extremes()[::-1]:
        plan[row.tobytes()] = row
    for _ in range(1000):
        for row in space.sample(256, rng):
            plan.setdefault(row.tobytes(), row)
        if len(plan) >= samples:
            break
    else:
        raise UserError(f"{space.name}: only {len(plan)} distinct subnets in 256,000 random ones; samples is {samples}")
    return np.array(list(plan.values()), dtype=np.int8)[:samples]
