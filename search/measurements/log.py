"""Measured accuracies of subnets: an append-only JSONL file that survives a kill, so that no subnet is measured twice.

Each line holds the genes, the top-1, the number of validation images, the correct answers in each tenth of them (from which
`measurements.noise` estimates the measuring error), the digest of the supernet's weights and the fingerprint of its space.
The predictor's sample, verified queries and measured fronts share one file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError
from ofa.files.atomic import append_line, drop_half_a_line
from ofa.files.vouched import read_vouched_line, vouched_line
from ofa.space.search_space import Genes, SearchSpace
from search.arrays import Floats, Mask
from search.problem.domain import Domain

Evaluate = Callable[[Genes], Mask]
MapRows = Callable[[Evaluate, Genes], Iterable[Mask]]
IMAGE_GROUPS = 10
"""Groups of the validation images in which correct answers are counted."""


@dataclass
class MeasurementLog:
    """The measurements of one set of weights on a fixed number of validation images; use `open`."""

    path: Path
    space: SearchSpace
    weights: str
    """Digest of the supernet's weights."""
    images: int
    """Validation images per measurement."""
    known: dict[bytes, float] = field(default_factory=dict)
    """Top-1 by the bytes of the genes."""
    correct: dict[bytes, list[int]] = field(default_factory=dict)
    """Correct answers in each group of the images; lines written before version 0.2 have none."""

    @classmethod
    def open(cls, path: str | Path, space: SearchSpace, weights: str, images: int) -> MeasurementLog:
        """Read the measurements; drops a line cut short by a kill, skips lines on another number of images.

        Raises:
            UserError: a line is damaged, or was measured on another space or other weights.
        """
        log = cls(Path(path), space, weights, images)
        if log.path.exists():
            drop_half_a_line(log.path)
            for number, line in enumerate(log.path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
                log._read(f"{log.path}:{number}", line)
        return log

    def top1(
        self,
        genes: Genes,
        measure: Evaluate,
        progress: Callable[[Genes], Iterable[Genes]] | None = None,
        map_rows: MapRows = map,
    ) -> Floats:
        """Measured top-1 of canonical rows, float64[n]; unknown ones are measured, and appended one by one.

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
        return np.array([self.known[row.tobytes()] for row in genes], dtype=np.float64)

    def has(self, genes: Genes) -> list[bool]:
        """Tell for each row whether it has been measured."""
        return [row.tobytes() in self.known for row in genes]

    def top1_by_group(self, genes: Genes) -> Floats | None:
        """Top-1 of measured rows on each group of images, float64[n, groups]; None if it was not recorded for some row."""
        counts = [self.correct.get(row.tobytes()) for row in genes]
        sizes = np.array([len(group) for group in _groups(np.zeros(self.images))])
        return None if None in counts else np.array(counts, dtype=np.float64).reshape(len(genes), len(sizes)) / sizes

    def _append(self, row: Genes, right: Mask) -> None:
        assert right.shape == (self.images,)
        top1, counts = float(right.mean()), [int(group.sum()) for group in _groups(right)]
        entry = {
            "genes": row.tolist(),
            "top1": top1,
            "images": self.images,
            "correct": counts,
            "split": "validation",
            "space": self.space.fingerprint,
            "weights": self.weights,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_line(self.path, vouched_line(entry))
        self.known[row.tobytes()], self.correct[row.tobytes()] = top1, counts

    def _read(self, place: str, line: str) -> None:
        entry = read_vouched_line(line, place, "remove the line to measure that subnet again")
        try:
            genes, top1, images = entry["genes"], float(entry["top1"]), entry["images"]
            space, weights = entry["space"], entry["weights"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{place}: not a measurement ({error}); remove the line to measure that subnet again") from None
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
        if images == self.images:
            key = np.array(genes, dtype=np.int8).tobytes()
            self.known[key] = top1
            if "correct" in entry:
                self.correct[key] = self._counts(place, entry["correct"], top1)

    def _counts(self, place: str, counts: object, top1: float) -> list[int]:
        groups = len(_groups(np.zeros(self.images)))
        right = round(top1 * self.images)
        if not isinstance(counts, list) or len(counts) != groups or sum(map(int, counts)) != right:
            raise UserError(f"{place}: correct is {counts}; must be {groups} counts that add up to {right}")
        return counts


def _groups(images: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    return np.array_split(images, min(IMAGE_GROUPS, len(images)))


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
