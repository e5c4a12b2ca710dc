"""Labelled images as batches: split, cropped, augmented, resized and normalised, and reproducible after a restart.

The order of images is a function of (seed, epoch), the augmentation of batch i of (seed, epoch, i), so a run that resumes at
batch i gets the same batches. Small data sets are kept in memory as uint8; a large image folder is decoded by workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ofa.data.augment import augmentation
from ofa.data.augment.augmentation import AugmentConfig
from ofa.data.balance import BalanceConfig, balanced_order
from ofa.data.config import DataConfig
from ofa.data.held_out import held_out
from ofa.data.record import DataRecord, record_of
from ofa.data.sources.read_source import Files, data_root, read_source
from ofa.data.splits import (
    COLOUR,
    ERASE,
    IMAGES_AT_ONCE,
    ORDER,
    TURN,
    BatchPlan,
    FileSplit,
    MemorySplit,
    Part,
    Split,
    generator,
    make_splits,
)
from ofa.data.stored_images import StoredImages
from ofa.distributed.world import ALONE, WHOLE, Share, World, processes_here
from ofa.errors import UserError

Resolution = int | Sequence[int] | Callable[[int], int]
Batch = tuple[Tensor, Tensor]

MAX_WORKERS = 16
MOST_BYTES_OF_SQUARES = 2**28


class Data:
    """A data set that is ready to train on; made by `load_data`.

    Attributes:
        channels: 1 or 3.
        classes: names of the classes, in label order.
        sizes: number of images of each split: `train`, `validation`, and `test` where the source has one; of kept images
            (`data_of_images`), of those parts that are kept.
        image_size: the shorter side of the stored images in pixels; None when they differ in size.
        record: the record that identifies the data set.
        name: name of the data in messages.
        mean, std: mean and standard deviation of each channel, by which images in [0, 1] are normalised.
    """

    def __init__(
        self,
        config: DataConfig,
        splits: Mapping[str, Split],
        record: DataRecord,
        name: str | None = None,
    ) -> None:
        self.config, self.record, self.name = config, record, name or config.source
        self.classes, self.mean, self.std = record.classes, record.mean, record.std
        self.channels = record.channels
        self.image_size = next((split.side for split in splits.values()), None)
        self.sizes = {name: len(split.labels) for name, split in splits.items()}
        self._splits = splits

    def labels(self, split: str) -> npt.NDArray[np.int64]:
        """Labels of a split, int64[n], in the order of unshuffled batches."""
        return self._split(split).labels

    def steps(self, split: str, batch_size: int, limit: int | None = None, drop_last: bool = False) -> int:
        """The number of batches that `batches` yields from the start."""
        count = self._count(split, limit)
        return count // batch_size if drop_last else -(-count // batch_size)

    def batches(
        self,
        split: str,
        *,
        batch_size: int,
        resolution: Resolution,
        shuffle: bool,
        augment: bool,
        epoch: int = 0,
        seed: int = 0,
        start: int = 0,
        device: torch.device | str = "cpu",
        limit: int | None = None,
        drop_last: bool = False,
        share: Share = WHOLE,
        balance: BalanceConfig | None = None,
    ) -> Iterator[Batch]:
        """One pass over a split.

        Args:
            split: `train`, `validation` or `test`.
            batch_size: images per batch; the last may be smaller.
            resolution: side of the square images in pixels; or one per batch, as a sequence or a function of its index.
            shuffle: True: another random order each epoch. False: a fixed order, in which classes are mixed.
            augment: True: augment as the recipe says. False: the central square of each image.
            epoch: number of the epoch; with the seed and the batch's index it decides order and augmentation.
            seed: seed of order and augmentation.
            start: index of the first batch to yield; the ones before are skipped at no cost.
            device: device on which the batches are made.
            limit: use only so many images, the first ones in the order. Unshuffled, they hold every class in its proportion;
                shuffled, they are random, and different in each epoch.
            drop_last: leave out a last batch that is not full.
            share: yield only this rank's share of each batch, with its images as they are in the whole; needs drop_last.
            balance: draws rare classes more often if it says so; needs shuffle.

        Yields:
            float32[batch, channels, resolution, resolution] normalised and channels-last, and int64[batch] labels.

        Raises:
            UserError: the split does not exist, or an image is corrupt.
        """
        source, device = self._split(split), torch.device(device)
        count = self._count(split, limit)
        if batch_size < 1 or min(start, seed, epoch) < 0:
            given = f"start {start}, seed {seed}, epoch {epoch}"
            raise ValueError(f"batch_size {batch_size} must be at least 1; {given} at least 0")
        if batch_size % share.parts or (share.parts > 1 and not drop_last):
            raise ValueError(f"batches of {batch_size} have no {share.parts} equal parts; or drop_last is missing")
        order = self._shuffled(source.labels, balance, generator(seed, epoch, ORDER)) if shuffle else np.arange(count)
        order = order[:count]
        steps = range(start, self.steps(split, batch_size, limit, drop_last))
        items = {i: order[i * batch_size : (i + 1) * batch_size][share.of(batch_size)] for i in steps}
        plans = [BatchPlan(items[i], _resolution(resolution, i), (seed, epoch, i), share) for i in steps]
        varied = self.config.augment if augment else None
        mean = torch.tensor(self.mean, device=device).view(1, -1, 1, 1) * 255
        std = torch.tensor(self.std, device=device).view(1, -1, 1, 1) * 255
        for plan, (images, labels) in zip(plans, source.squares(plans, self.config, varied, device), strict=True):
            yield _finish(images, plan, varied, mean, std), labels

    def _shuffled(
        self, labels: npt.NDArray[np.int64], balance: BalanceConfig | None, random: torch.Generator
    ) -> npt.NDArray[np.int64]:
        weights = None if balance is None else balance.sampling_weights(labels, len(self.classes))
        if weights is not None:
            return balanced_order(labels, weights, random)
        return torch.randperm(len(labels), generator=random).numpy()

    def squares(self, split: str, count: int, most_side: int) -> StoredImages:
        """The first images of a split as evaluation sees them, before they are resized to a resolution.

        Args:
            split: `train`, `validation` or `test`.
            count: images at most; fewer where together they would take more than MOST_BYTES_OF_SQUARES.
            most_side: pixels of the largest square; larger ones are resized to it.
        """
        source, cpu = self._split(split), torch.device("cpu")
        bytes_each = self.channels * (min(self.image_size or most_side, most_side)) ** 2
        items = np.arange(min(self._count(split, count), max(1, MOST_BYTES_OF_SQUARES // bytes_each)))
        starts = range(0, len(items), IMAGES_AT_ONCE)
        plans = [BatchPlan(items[start : start + IMAGES_AT_ONCE], most_side, (0, 0, 0)) for start in starts]
        parts = []
        for images, _ in source.squares(plans, self.config, None, cpu):
            if images.shape[-1] > most_side:
                images = augmentation.resize(images.float(), most_side).round().clamp(0, 255).to(torch.uint8)
            parts.append(images.permute(0, 2, 3, 1).contiguous().numpy())
        return StoredImages(np.concatenate(parts), source.labels[: len(items)])

    def _split(self, split: str) -> Split:
        if split not in self._splits:
            raise UserError(f"data {self.name}: has no split {split!r}; it has {', '.join(self._splits) or 'none'}")
        return self._splits[split]

    def _count(self, split: str, limit: int | None) -> int:
        size = len(self._split(split).labels)
        return size if limit is None else min(limit, size)


def load_data(
    config: DataConfig,
    root: str | Path | None = None,
    *,
    channels: int | None = None,
    world: World = ALONE,
    known: DataRecord | None = None,
) -> Data:
    """Read, split and prepare a data set.

    Args:
        config: the section `data` of the recipe.
        root: folder into which `ofa data` puts data sets; None: the environment variable OFA_DATA, else `data`.
        channels: 1 or 3; images are converted. None: as stored, and 3 for image files.
        world: the ranks that load the data; one of them lists the files for all.
        known: an earlier record of the data, which saves decoding all images for their mean and deviation.

    Raises:
        UserError: there is no data (the message says how to get it), or files are empty, corrupt or inconsistent.
    """
    if channels not in (None, 1, 3):
        raise UserError(f"data {config.source}: channels is {channels}; images have 1 (grey) or 3 (RGB)")
    source = world.once(lambda: read_source(config.source, data_root() if root is None else Path(root)))
    parts = held_out(source, config)
    workers = min(MAX_WORKERS, max(1, usable_cpus() // processes_here())) if config.workers is None else config.workers
    splits = make_splits(parts, channels, workers, config, None if known is None else known.size)
    if config.augment.crop_padding and isinstance(splits["train"], FileSplit):
        raise UserError(
            f"data {config.source}: crop_padding needs images of one size, together below memory_limit_mb "
            f"({config.memory_limit_mb:g}); use random_resized_crop for this folder"
        )
    given = config.normalise
    if given is not None and len(given.mean) != splits["train"].channels:
        raise UserError(
            f"data {config.source}: normalise has {len(given.mean)} means, images have {splits['train'].channels} channels"
        )
    if given is not None:
        mean, std = given.mean, given.std
    else:
        mean, std = splits["train"].statistics() if known is None else (known.mean, known.std)
    if 0 in std:
        raise UserError(f"data {config.source}: channel {std.index(0)} of the training images is constant; give normalise")
    labels = {name: split.labels for name, split in splits.items()}
    channels, size = splits["train"].channels, _size_of_files(parts, splits)
    record = world.once(lambda: record_of(source, labels, channels, mean, std, size))
    return Data(config, splits, record)


def _size_of_files(parts: Mapping[str, Part], splits: Mapping[str, Split]) -> tuple[int, int] | None:
    """Height and width of all image files; None for arrays, and where files differ or are not in memory."""
    sizes = {splits[name].size if isinstance(part, Files) else None for name, part in parts.items()}
    return sizes.pop() if len(sizes) == 1 else None


def data_of_images(config: DataConfig, parts: Mapping[str, StoredImages], record: DataRecord, name: str) -> Data:
    """Images that were kept (`Data.squares`) as data: normalised and resized as those they are from; `name` for messages."""
    splits = {part: MemorySplit(images.pixels, images.labels) for part, images in parts.items()}
    return Data(replace(config, evaluation_crop=1.0), splits, record, name)


def usable_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _resolution(resolution: Resolution, index: int) -> int:
    if isinstance(resolution, int):
        return resolution
    return resolution(index) if callable(resolution) else resolution[index]


def _finish(images: Tensor, plan: BatchPlan, varied: AugmentConfig | None, mean: Tensor, std: Tensor) -> Tensor:
    """Resize squares in 0..255 to the plan's resolution, augment and normalise them; float32, channels-last."""
    images = augmentation.resize(images.float(), plan.resolution)
    if varied is not None:
        if varied.vertical_flip:
            images = augmentation.flip(images, plan.generator(TURN), dim=2)
        images = augmentation.jitter(images, varied, plan.generator(COLOUR))
    images = images.sub_(mean).div_(std)
    if varied is not None:
        images = augmentation.erase(images, varied, plan.generator(ERASE))
    return images.contiguous(memory_format=torch.channels_last)
