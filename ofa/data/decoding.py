"""Image files into uint8 batches, by worker processes; the result does not depend on how many there are.

Pillow is the extra `images` and is imported where a file is opened.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ofa.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]  # left, top, right, bottom

MODES = {1: "L", 3: "RGB"}
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True)
class Job:
    """One batch to decode."""

    paths: Sequence[str]
    resolution: int | None
    """Pixels of the square to make; None keeps the stored size (which must then be the same for all)."""
    keep: float = 1.0
    """Fraction of the shorter side that the central square keeps."""
    crop_area: tuple[float, ...] | None = None
    """Range of the area of a random crop, which then takes the place of the central square."""
    seed: tuple[int, ...] = ()
    """Of the random crops; with the image's place in the batch it decides them."""
    mirrored: npt.NDArray[np.bool_] | None = None
    """Which images to mirror; None: none."""
    first: int = 0
    """Place in the batch of the first image, where others decode the ones before."""


class SizesDifferError(UserError):
    """Files of several sizes where one size was expected."""


def require_pillow() -> Any:
    """The module `PIL.Image`; raises `UserError` saying what to install when Pillow is missing."""
    try:
        from PIL import Image
    except ImportError:
        raise UserError("image files need Pillow; run: pip install 'ofa-energy[images]'") from None
    return Image


def decode(jobs: Sequence[Job], channels: int, workers: int, pin_memory: bool = False) -> Iterator[Tensor]:
    """Decode batches in order.

    Args:
        jobs: the batches.
        channels: 1 (grey) or 3 (RGB); files are converted.
        workers: processes that decode ahead; 0 decodes here.
        pin_memory: put batches into page-locked memory, for copies to a GPU.

    Yields:
        uint8[batch, resolution, resolution, channels] of each job.

    Raises:
        UserError: a file is corrupt or unreadable, named; or Pillow is missing.
        SizesDifferError: a job keeps the stored size, which is not the same for all its files.
    """
    require_pillow()
    loader: DataLoader[Tensor | _Failure] = DataLoader(
        _Batches(jobs, channels), batch_size=None, num_workers=min(workers, len(jobs)), pin_memory=pin_memory
    )
    with warnings.catch_warnings():
        # Python 3.12 warns of fork beside threads; the workers only decode files, they touch neither the threads nor a GPU.
        warnings.filterwarnings("ignore", "This process .*is multi-threaded, use of fork", DeprecationWarning)
        batches = iter(loader)
    for batch in batches:
        if isinstance(batch, _Failure):
            raise SizesDifferError(batch.message) if batch.sizes_differ else UserError(batch.message)
        yield batch


def size_of(path: str) -> tuple[int, int]:
    """Height and width out of a file's header."""
    with _opened(path) as image:
        width, height = image.size
    return height, width


def crop_box(height: int, width: int, area: tuple[float, ...], draws: Sequence[float]) -> Box:
    """A box of random area, of aspect 3/4 to 4/3, inside of an image: left, top, right, bottom in pixels.

    `draws` are four numbers in [0, 1). An aspect that does not fit is cut at the image's edge.
    """
    target = (area[0] + draws[0] * (area[1] - area[0])) * height * width
    aspect = math.exp((2 * draws[1] - 1) * math.log(4 / 3))
    box_width = min(max(math.sqrt(target * aspect), 1.0), width)
    box_height = min(max(math.sqrt(target / aspect), 1.0), height)
    left, top = draws[2] * (width - box_width), draws[3] * (height - box_height)
    return left, top, left + box_width, top + box_height


@dataclass(frozen=True)
class _Failure:
    """A mistake as a value, since an exception would lose its type between processes."""

    message: str
    sizes_differ: bool = False


class _Batches(Dataset[Any]):
    """A decoded job by its index, or what failed."""

    def __init__(self, jobs: Sequence[Job], channels: int) -> None:
        self.jobs, self.channels = jobs, channels

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> Tensor | _Failure:
        job = self.jobs[index]
        draws = _draws(job)
        batch: Tensor | None = None
        differs: str | None = None
        try:
            for place in range(len(job.paths)):
                image = _decode_one(job, place, self.channels, draws[place])
                if batch is None:
                    batch = _empty((len(job.paths), *image.shape))
                    pixels = batch.numpy()
                if image.shape == pixels.shape[1:]:
                    pixels[place] = image
                elif differs is None:
                    differs = f"{job.paths[place]}: is {_size(image)} pixels while {job.paths[0]} is {_size(pixels[0])}"
        except UserError as error:
            return _Failure(str(error))
        assert batch is not None, "a job has files"
        return batch if differs is None else _Failure(differs, sizes_differ=True)


def _draws(job: Job) -> list[list[float]]:
    """For each of the job's images the four numbers of `crop_box`; none where nothing is cropped."""
    if job.crop_area is None:
        return [[]] * len(job.paths)
    rng = np.random.default_rng(job.seed)
    draws: list[list[float]] = rng.random((job.first + len(job.paths), 4))[job.first :].tolist()
    return draws


def _empty(shape: tuple[int, ...]) -> Tensor:
    """uint8; in a worker in memory that the main process sees, so that the batch is not copied there once more."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage: torch.UntypedStorage = torch.UntypedStorage._new_shared(math.prod(shape))  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def _decode_one(job: Job, place: int, channels: int, draws: Sequence[float]) -> npt.NDArray[np.uint8]:
    """uint8[height, width, channels] of one file; `draws` are those of `crop_box`."""
    path, resolution = job.paths[place], job.resolution
    image_module = require_pillow()
    with _opened(path) as image:
        if image.mode in DEEP_MODES:
            raise UserError(f"{path}: has pixels of mode {image.mode}, more than 8 bits; convert it to 8 bits")
        try:
            if resolution is not None:
                width, height = image.size
                box = _box(job, height, width, draws)
                fit_x, fit_y = resolution / (box[2] - box[0]), resolution / (box[3] - box[1])
                image.draft(None, (math.ceil(width * fit_x), math.ceil(height * fit_y)))  # JPEG: decodes to 1/2, 1/4 or 1/8
                scale_x, scale_y = image.size[0] / width, image.size[1] / height
                box = (box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y)
            converted = image if image.mode == MODES[channels] else image.convert(MODES[channels])
            if resolution is not None:
                converted = converted.resize((resolution, resolution), image_module.Resampling.BILINEAR, box=box)
            if job.mirrored is not None and job.mirrored[place]:
                converted = converted.transpose(image_module.Transpose.FLIP_LEFT_RIGHT)
            pixels = np.asarray(converted, dtype=np.uint8)
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(f"{path}: corrupt image: {error}") from None
    return pixels.reshape(*pixels.shape[:2], channels)


def _box(job: Job, height: int, width: int, draws: Sequence[float]) -> Box:
    if job.crop_area is not None:
        return crop_box(height, width, job.crop_area, draws)
    side = min(height, width) * job.keep
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _opened(path: str) -> Image:
    image_module = require_pillow()
    try:
        image: Image = image_module.open(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image: {error}") from None
    return image


def _size(image: npt.NDArray[np.uint8]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
