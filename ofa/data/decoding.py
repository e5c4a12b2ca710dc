"""Decoding image files into uint8 batches by worker processes; the result does not depend on their number."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ofa.data.sources.image_file import Box, Reading, read_pixels, require_pillow
from ofa.errors import UserError

SHOWN = 20
"""Most damaged files that a message names."""


@dataclass(frozen=True)
class Job:
    """One batch to decode."""

    paths: Sequence[str]
    resolution: int | None
    """Side of the square to make, in pixels; None keeps the stored size, which must be the same for all files."""
    keep: float = 1.0
    """Fraction of the shorter side that the central square keeps."""
    crop_area: tuple[float, ...] | None = None
    """Range of the area of a random crop, as fractions; None: the central square instead."""
    seed: tuple[int, ...] = ()
    """Seed of the random crops; with an image's index in the batch it decides the image's crop."""
    mirrored: npt.NDArray[np.bool_] | None = None
    """True for each image to mirror; None: none is mirrored."""
    first: int = 0
    """Index of this rank's first image within the whole batch."""


class SizesDifferError(UserError):
    """Files have several sizes where one size was expected."""


def decode(
    jobs: Sequence[Job], reading: Reading, workers: int, *, pin_memory: bool = False, look_at_all: bool = False
) -> Iterator[Tensor]:
    """Decode batches in order.

    Args:
        jobs: the batches.
        reading: settings for reading files.
        workers: processes that decode ahead; 0: this process decodes.
        pin_memory: put batches into page-locked memory, for copies to a GPU.
        look_at_all: True: read all files even after a damaged one, so that the message names all damaged files.

    Yields:
        uint8[batch, resolution, resolution, channels] of each job.

    Raises:
        UserError: files are corrupt or unreadable (names them), Pillow is missing, or a worker process was killed.
        SizesDifferError: a job keeps the stored size, and its files differ in size.
    """
    damaged: list[str] = []
    for batch in _outcomes(jobs, reading, workers, pin_memory):
        if isinstance(batch, Tensor):
            if not damaged:
                yield batch
            continue
        if batch.differs and not damaged:
            raise SizesDifferError(batch.differs)
        damaged += batch.damaged
        if damaged and not look_at_all:
            break
    if damaged:
        raise UserError(damage(damaged))


def damaged_files(jobs: Sequence[Job], reading: Reading, workers: int) -> list[str]:
    """A line for each file of the jobs that cannot be decoded; arguments as in `decode`."""
    outcomes = _outcomes(jobs, reading, workers, pin_memory=False)
    return [line for outcome in outcomes if isinstance(outcome, _Failure) for line in outcome.damaged]


def damage(messages: Sequence[str]) -> str:
    """One line for all damaged files, which names the first ones and counts the others."""
    if len(messages) == 1:
        return messages[0]
    more = f"; and {len(messages) - SHOWN} more" if len(messages) > SHOWN else ""
    return f"{len(messages)} damaged images: {'; '.join(messages[:SHOWN])}{more}"


def _outcomes(jobs: Sequence[Job], reading: Reading, workers: int, pin_memory: bool) -> Iterator[Tensor | _Failure]:
    """Yield the outcome of each job, in order; raises `UserError` with advice where a worker process was killed."""
    require_pillow()
    loader: DataLoader[Tensor | _Failure] = DataLoader(
        _Batches(jobs, reading), batch_size=None, num_workers=min(workers, len(jobs)), pin_memory=pin_memory
    )
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork in a process with threads; workers only decode files, they use neither threads nor GPU.
        warnings.filterwarnings("ignore", "This process .*is multi-threaded, use of fork", DeprecationWarning)
        batches = iter(loader)
    try:
        yield from batches
    except RuntimeError as error:
        text = str(error)
        if not any(sign in text for sign in ("DataLoader worker", "shared memory", "shm", "No space left", "mmap")):
            raise
        raise UserError(
            f"a process that decodes images ended: {text.splitlines()[0][:80]}; "
            "set `workers: 0` in the recipe's section data, or give more shared memory (docker run --shm-size 2g)"
        ) from None


def crop_box(height: int, width: int, area: tuple[float, ...], draws: Sequence[float]) -> Box:
    """A box of random area and aspect ratio (3/4 to 4/3) inside an image: left, top, right, bottom in pixels.

    `draws` are four random numbers in [0, 1). A box that does not fit is cut at the image's edges.
    """
    target = (area[0] + draws[0] * (area[1] - area[0])) * height * width
    aspect = math.exp((2 * draws[1] - 1) * math.log(4 / 3))
    box_width = min(max(math.sqrt(target * aspect), 1.0), width)
    box_height = min(max(math.sqrt(target / aspect), 1.0), height)
    left, top = draws[2] * (width - box_width), draws[3] * (height - box_height)
    return left, top, left + box_width, top + box_height


@dataclass(frozen=True)
class _Failure:
    """Failures as a value, because an exception would lose its type on the way between processes."""

    damaged: tuple[str, ...]
    """A line for each damaged file of a job."""
    differs: str | None = None
    """A file of another size than the first."""


class _Batches(Dataset[Any]):
    """The decoded batch of each job, or its failure, by index."""

    def __init__(self, jobs: Sequence[Job], reading: Reading) -> None:
        self.jobs, self.reading = jobs, reading

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> Tensor | _Failure:
        job = self.jobs[index]
        draws = _draws(job)
        batch: Tensor | None = None
        differs: str | None = None
        damaged = []
        for place in range(len(job.paths)):
            try:
                image = _decode_one(job, place, self.reading, draws[place])
            except UserError as error:
                damaged.append(str(error))
                continue
            if batch is None:
                batch = _empty((len(job.paths), *image.shape))
                pixels = batch.numpy()
            if image.shape == pixels.shape[1:]:
                pixels[place] = image
            elif differs is None:
                differs = f"{job.paths[place]}: is {_size(image)} pixels while {job.paths[0]} is {_size(pixels[0])}"
        if damaged or differs is not None:
            return _Failure(tuple(damaged), differs)
        assert batch is not None, "a job has files"
        return batch


def _draws(job: Job) -> list[list[float]]:
    """The four numbers of `crop_box` for each image of the job; empty lists where nothing is cropped."""
    if job.crop_area is None:
        return [[]] * len(job.paths)
    rng = np.random.default_rng(job.seed)
    draws: list[list[float]] = rng.random((job.first + len(job.paths), 4))[job.first :].tolist()
    return draws


def _empty(shape: tuple[int, ...]) -> Tensor:
    """An unset uint8 tensor; in a worker it is in shared memory, so that the main process gets it without a copy."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage: torch.UntypedStorage = torch.UntypedStorage._new_shared(math.prod(shape))  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def _decode_one(job: Job, place: int, reading: Reading, draws: Sequence[float]) -> npt.NDArray[np.uint8]:
    """uint8[height, width, channels] of one file; `draws` are those of `crop_box`."""
    mirror = job.mirrored is not None and bool(job.mirrored[place])
    choose = partial(_box, job, draws)
    return read_pixels(job.paths[place], reading, job.resolution, choose, mirror)


def _box(job: Job, draws: Sequence[float], height: int, width: int) -> Box:
    if job.crop_area is not None:
        return crop_box(height, width, job.crop_area, draws)
    side = min(height, width) * job.keep
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _size(image: npt.NDArray[np.uint8]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
