"""The record of a run's data, written at its start, so that other data under the same name are noticed later."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ofa.data.sources.read_source import Arrays, Files, Source

SAMPLED_FILES = 64
"""Files of each split whose content goes into its digest; of all others only names and sizes do."""


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The identity of a data set as it was split for a run; `data.json` in the run directory."""

    found_at: str
    """Absolute path of the folder or file."""
    classes: tuple[str, ...]
    """Names of the classes in label order."""
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Standard deviation of each channel, by which (with the mean) images in [0, 1] are normalised."""
    images: dict[str, dict[str, int]]
    """Number of images by split and class."""
    digests: dict[str, str]
    """SHA-256 of each part of the source: over names, sizes and a sample of the contents of files; over all of arrays."""
    size: tuple[int, int] | None = None
    """Height and width of all image files, where they have one size and fit into memory."""
    census: str | None = None
    """Counts of the images in an image folder, and of the files that are left out."""

    def sentence(self) -> str:
        """One line to show when training begins: the place, the numbers of images and classes, the files left out."""
        splits = ", ".join(f"{split} {sum(classes.values()):,}" for split, classes in self.images.items())
        held = f"{self.found_at}: {splits} images of {len(self.classes)} classes"
        return held if self.census is None else f"{held}; in its folders {self.census}"

    def difference(self, now: DataRecord) -> str | None:
        """The first difference from the current data, as a clause; None where they are the same. New splits do not count."""
        if now.classes != self.classes:
            return f"its classes were {_names(self.classes)}; now they are {_names(now.classes)}"
        for split, classes in self.images.items():
            found = now.images.get(split, {})
            if found != classes:
                return f"{split} had {sum(classes.values())} images ({_counts(classes)}); now {_counts(found)}"
        for part, digest in self.digests.items():
            if now.digests.get(part) != digest:
                return f"the images of {part} have other names, sizes or content than then"
        return None


def record_of(
    source: Source,
    labels: Mapping[str, npt.NDArray[np.int64]],
    channels: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    size: tuple[int, int] | None = None,
) -> DataRecord:
    """The record of a source; `labels` are those of each split, int64[n]."""
    counts = {split: np.bincount(numbers, minlength=len(source.classes)) for split, numbers in labels.items()}
    return DataRecord(
        found_at=str(source.place.resolve()),
        classes=source.classes,
        channels=channels,
        mean=mean,
        std=std,
        images={split: dict(zip(source.classes, counts[split].tolist(), strict=True)) for split in labels},
        digests={part: _digest(images) for part, images in source.parts.items()},
        size=size,
        census=None if source.census is None else source.census.sentence(),
    )


def _digest(part: Arrays | Files) -> str:
    digest = hashlib.sha256()
    if isinstance(part, Arrays):
        digest.update(f"{part.images.shape} {part.labels.shape}".encode())
        digest.update(np.ascontiguousarray(part.images).data)
        digest.update(np.ascontiguousarray(part.labels).data)
        return digest.hexdigest()
    for name, path in zip(part.names(), part.paths, strict=True):
        digest.update(f"{name}\0{os.stat(path).st_size}\n".encode("utf-8", "surrogateescape"))
    for i in np.unique(np.linspace(0, len(part.paths) - 1, SAMPLED_FILES).astype(int)):
        digest.update(Path(part.paths[int(i)]).read_bytes())
    return digest.hexdigest()


def _names(classes: tuple[str, ...], shown: int = 10) -> str:
    return ", ".join(classes[:shown]) + (f" and {len(classes) - shown} more" if len(classes) > shown else "")


def _counts(classes: Mapping[str, int], shown: int = 10) -> str:
    if not classes:
        return "it has none"
    more = ", ..." if len(classes) > shown else ""
    return ", ".join(f"{name} {count}" for name, count in list(classes.items())[:shown]) + more
