"""The splits of a data set, which make square images for batches: from memory (uint8), or by decoding files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ofa.data.augment import augmentation
from ofa.data.augment.augmentation import AugmentConfig
from ofa.data.config import DataConfig
from ofa.data.decoding import Job, SizesDifferError, decode
from ofa.data.sources.image_file import Reading, size_of
from ofa.data.sources.read_source import Arrays, Files
from ofa.distributed import draws
from ofa.distributed.draws import for_share
from ofa.distributed.world import WHOLE, Share
from ofa.errors import UserError

Part = Arrays | Files
Statistics = tuple[tuple[float, ...], tuple[float, ...]]

ORDER, GEOMETRY, COLOUR, ERASE, TURN = range(5)  # uses of random numbers; each has a generator of its own
SIZE_SAMPLE = 64  # files whose size is read before all are decoded
STATISTICS_SAMPLE = 2048  # files from which mean and standard deviation are computed
STATISTICS_SIDE = 64  # pixels
IMAGES_AT_ONCE = 512  # images decoded or converted at once
LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)  # ITU-R BT.601 in 1/65536, as Pillow rounds


def generator(*seed: int) -> torch.Generator:
    """A generator on the CPU, seeded by a hash of whole numbers, so that similar numbers give independent streams."""
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) & (2**63 - 1))


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """One batch, or a rank's share of it: the images, their resolution, and the seed of their augmentation."""

    items: npt.NDArray[np.int64]
    """Indices of the images in the split."""
    resolution: int
    seed: tuple[int, int, int]
    """Seed, epoch and index of the batch."""
    share: Share = WHOLE
    """The rank's share of the batch; `items` holds only this share."""

    def generator(self, use: int) -> torch.Generator:
        """A fresh generator for one use within this batch."""
        return for_share(generator(*self.seed, use), self.share)


class Split(ABC):
    """Labels in a fixed order, and square images for batches."""

    labels: npt.NDArray[np.int64]
    channels: int
    side: int | None
    size: tuple[int, int] | None = None
    """Height and width of all images; None where they differ, or are not in memory."""

    @abstractmethod
    def squares(
        self, plans: Sequence[BatchPlan], config: DataConfig, varied: AugmentConfig | None, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """For each plan: images [batch, channels, side, side] in 0..255, uint8 or float32, any side; labels int64[batch]."""

    @abstractmethod
    def statistics(self) -> Statistics:
        """Mean and standard deviation of each channel, of values in [0, 1]."""


class MemorySplit(Split):
    """All images in memory as uint8[n, height, width, channels]; a copy is kept on each device on which batches are made."""

    def __init__(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> None:
        self.labels = labels
        self.channels, self.size = images.shape[3], (images.shape[1], images.shape[2])
        self.side = min(self.size)
        tensors = torch.from_numpy(images), torch.from_numpy(labels)
        self._on_device: dict[torch.device, tuple[Tensor, Tensor]] = {torch.device("cpu"): tensors}

    def squares(
        self, plans: Sequence[BatchPlan], config: DataConfig, varied: AugmentConfig | None, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Implement `Split.squares`."""
        if device not in self._on_device:
            images, labels = self._on_device[torch.device("cpu")]
            self._on_device[device] = images.to(device), labels.to(device)
        images, labels = self._on_device[device]
        for plan in plans:
            items = torch.from_numpy(plan.items).to(device, non_blocking=True)
            yield self._square(images, items, plan, config, varied), labels[items]

    def _square(
        self, images: Tensor, items: Tensor, plan: BatchPlan, config: DataConfig, varied: AugmentConfig | None
    ) -> Tensor:
        side = min(images.shape[1:3])
        chosen = images.index_select(0, items)
        if varied is None:
            kept = max(1, round(side * config.evaluation_crop))
            return augmentation.center(chosen, kept).permute(0, 3, 1, 2)
        random, area = plan.generator(GEOMETRY), varied.random_resized_crop
        if area is None:
            return augmentation.shift_and_flip(chosen, side, varied, random)
        batch = chosen.permute(0, 3, 1, 2).float().contiguous()
        return augmentation.random_resized_crop(batch, plan.resolution, area, varied.horizontal_flip, random)

    def statistics(self) -> Statistics:
        """Implement `Split.statistics`, exactly."""
        images = self._on_device[torch.device("cpu")][0].numpy()
        return _statistics(images[start : start + IMAGES_AT_ONCE] for start in range(0, len(images), IMAGES_AT_ONCE))


class DecodedOnUse(Split):
    """Image files of one known size, which are decoded into memory when they are used: often a few of many.

    Args:
        size: height and width of all images.
    """

    def __init__(self, files: Files, reading: Reading, workers: int, size: tuple[int, int]) -> None:
        self.labels = files.labels
        self.channels, self.size, self.side = reading.channels, size, min(size)
        self._paths, self._reading, self._workers = files.paths, reading, workers
        self._pixels = np.empty((len(files.paths), *size, reading.channels), dtype=np.uint8)  # takes memory when written
        self._decoded = np.zeros(len(files.paths), dtype=bool)
        self._images = MemorySplit(self._pixels, files.labels)  # on the same memory

    def squares(
        self, plans: Sequence[BatchPlan], config: DataConfig, varied: AugmentConfig | None, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Implement `Split.squares`."""
        wanted = np.zeros_like(self._decoded)
        for plan in plans:
            wanted[plan.items] = True
        self._decode(np.flatnonzero(~self._decoded & (wanted if device.type == "cpu" else True)))
        return self._images.squares(plans, config, varied, device)

    def statistics(self) -> Statistics:
        """Implement `Split.statistics`, exactly."""
        self._decode(np.flatnonzero(~self._decoded))
        return self._images.statistics()

    def _decode(self, items: npt.NDArray[np.intp]) -> None:
        parts = [items[start : start + IMAGES_AT_ONCE] for start in range(0, len(items), IMAGES_AT_ONCE)]
        if not parts:
            return
        jobs = [Job(self._paths.take(part), None) for part in parts]
        decoded = decode(jobs, self._reading, self._workers, look_at_all=True)
        for part, images in zip(parts, decoded, strict=True):
            if images.shape[1:] != self._pixels.shape[1:]:
                raise SizesDifferError(f"{self._paths[int(part[0])]}: not of the size that it had")
            self._pixels[part] = images.numpy()
            self._decoded[part] = True


class FileSplit(Split):
    """Image files, which workers decode ahead of use."""

    def __init__(self, files: Files, reading: Reading, workers: int) -> None:
        self.labels = files.labels
        self.channels, self.side = reading.channels, None
        self._paths, self._reading, self._workers = files.paths, reading, workers

    def squares(
        self, plans: Sequence[BatchPlan], config: DataConfig, varied: AugmentConfig | None, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Implement `Split.squares`; the images have the plan's resolution already."""
        area = varied.random_resized_crop if varied is not None else None
        keep = config.evaluation_crop if varied is None else 1.0
        jobs = [
            Job(
                self._paths.take(plan.items),
                plan.resolution,
                keep,
                area,
                (*plan.seed, GEOMETRY),
                _mirrored(plan) if varied is not None and varied.horizontal_flip else None,
                first=plan.share.index * len(plan.items),
            )
            for plan in plans
        ]
        decoded = decode(jobs, self._reading, self._workers, pin_memory=device.type == "cuda")
        for plan, images in zip(plans, decoded, strict=True):
            batch = images.to(device, non_blocking=True).permute(0, 3, 1, 2)
            yield batch, torch.from_numpy(self.labels[plan.items]).to(device, non_blocking=True)

    def statistics(self) -> Statistics:
        """Implement `Split.statistics` by the central squares of the first files, which are a fair sample."""
        sample = self._paths[:STATISTICS_SAMPLE]
        starts = range(0, len(sample), IMAGES_AT_ONCE)
        jobs = [Job(sample[start : start + IMAGES_AT_ONCE], STATISTICS_SIDE) for start in starts]
        return _statistics(images.numpy() for images in decode(jobs, self._reading, self._workers, look_at_all=True))


def _mirrored(plan: BatchPlan) -> npt.NDArray[np.bool_]:
    mirrored: npt.NDArray[np.bool_] = (draws.uniform(len(plan.items), plan.generator(GEOMETRY)) < 0.5).numpy()
    return mirrored


def make_splits(
    parts: Mapping[str, Part],
    channels: int | None,
    workers: int,
    config: DataConfig,
    size: tuple[int, int] | None = None,
) -> dict[str, Split]:
    """A split of each part; files are decoded into memory where all have one size and fit the memory limit.

    Images are converted to `channels` (1 or 3); None keeps those of arrays, and decodes files to 3. Where all files are
    known to have one `size` (height, width), those that are used are decoded, and later; otherwise all, now.
    """
    splits: dict[str, Split] = {}
    for name, part in parts.items():
        if isinstance(part, Arrays):
            splits[name] = MemorySplit(_with_channels(part.images, channels), part.labels)
    files = {name: part for name, part in parts.items() if isinstance(part, Files)}
    if not files:
        return splits
    reading = Reading(channels or 3, config.background, config.exif_orientation)
    limit = int(config.memory_limit_mb * 1e6)
    if size is not None and _bytes(list(files.values()), reading, size) <= limit:
        return splits | {name: DecodedOnUse(part, reading, workers, size) for name, part in files.items()}
    try:
        if _fits(list(files.values()), reading, limit):
            return splits | {name: _decoded(part, reading, workers) for name, part in files.items()}
    except SizesDifferError:
        pass  # the sample of sizes missed some: decode batch by batch
    return splits | {name: FileSplit(part, reading, workers) for name, part in files.items()}


def take(part: Part, items: npt.NDArray[np.int64]) -> Part:
    """The images of a part at the given indices, in that order."""
    if isinstance(part, Arrays):
        return Arrays(part.images[items], part.labels[items])
    return Files(part.paths.take(items), part.labels[items], part.folder)


def _fits(parts: Sequence[Files], reading: Reading, memory_limit: int) -> bool:
    """Tell whether a sample of the files has one size, and all files of this size fit the limit (bytes)."""
    sizes = set()
    for path in (path for part in parts for path in part.paths[:SIZE_SAMPLE]):
        with suppress(UserError):  # decoding reports damaged files, all at once
            sizes.add(size_of(path, reading.upright))
    if len(sizes) != 1:
        return False
    return _bytes(parts, reading, sizes.pop()) <= memory_limit


def _bytes(parts: Sequence[Files], reading: Reading, size: tuple[int, int]) -> int:
    return sum(len(part.paths) for part in parts) * size[0] * size[1] * reading.channels


def _decoded(part: Files, reading: Reading, workers: int) -> MemorySplit:
    jobs = [Job(part.paths[start : start + IMAGES_AT_ONCE], None) for start in range(0, len(part.paths), IMAGES_AT_ONCE)]
    chunks: list[npt.NDArray[np.uint8]] = []
    for chunk in decode(jobs, reading, workers, look_at_all=True):
        if chunks and chunk.shape[1:] != chunks[0].shape[1:]:
            raise SizesDifferError(f"{part.paths[0]}: not of the size of other files")
        chunks.append(chunk.numpy())
    return MemorySplit(np.concatenate(chunks), part.labels)


def _with_channels(images: npt.NDArray[np.uint8], channels: int | None) -> npt.NDArray[np.uint8]:
    if channels in (None, images.shape[3]):
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=3)
    grey = np.empty((*images.shape[:3], 1), dtype=np.uint8)
    for start in range(0, len(images), IMAGES_AT_ONCE):
        grey[start : start + IMAGES_AT_ONCE, ..., 0] = (images[start : start + IMAGES_AT_ONCE] @ LUMA + 0x8000) >> 16
    return grey


def _statistics(chunks: Iterator[npt.NDArray[np.uint8]]) -> Statistics:
    """Mean and population standard deviation of each channel, exactly, from histograms."""
    counts: npt.NDArray[np.int64] | None = None
    for chunk in chunks:
        flat = chunk.reshape(-1, chunk.shape[-1])
        found = np.stack([np.bincount(flat[:, channel], minlength=256) for channel in range(flat.shape[1])])
        counts = found if counts is None else counts + found
    assert counts is not None, "a split is never empty"
    values = np.arange(256) / 255
    frequency = counts / counts.sum(axis=1, keepdims=True)
    mean = frequency @ values
    std = np.sqrt((frequency * (values - mean[:, None]) ** 2).sum(axis=1))
    return tuple(mean.tolist()), tuple(std.tolist())
