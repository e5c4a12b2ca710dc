"""Accuracy of subnets: extract, recalibrate batch norm, classify held-out images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ofa.data.batches import Data
from ofa.distributed.world import ALONE, World
from ofa.errors import UserError
from ofa.measure.accuracy import TOP1, ClassCounts
from ofa.measure.allocator import keep_freed_memory
from ofa.measure.config import EvaluationConfig
from ofa.measure.fast_inference import speed_up
from ofa.measure.memory import NO_LIMIT, USUAL, Caches, MemoryLimit, working_bytes
from ofa.measure.recalibration import recalibrate_batch_norm
from ofa.measure.shared_starts import ImagesSeen, SharedStarts
from ofa.nets.extraction import extract
from ofa.nets.plain import Net
from ofa.nets.supernet import Supernet
from ofa.space.subnet import Subnet


class SubnetEvaluator:
    """Measures subnets of one supernet; batches are prepared once per resolution and kept.

    Args:
        supernet: the supernet; its weights are read at every call, so it may be trained between calls.
        data: the data set.
        config: numbers of images.
        images: number of images of a split to measure on; None: all.
        device: device on which subnets run; on a CPU, this process keeps the memory that it frees from now on.
        world: the ranks that share the subnets of a call of `top1`.
        recalibration: data whose part `train` gives the images for batch-norm statistics; None: `data`.
        caches: the most that is kept between subnets.
        memory: a limit on the process, into which the caches are fitted, and after each list of subnets emptied.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Data,
        config: EvaluationConfig,
        images: int | None = None,
        device: torch.device | str = "cpu",
        world: World = ALONE,
        recalibration: Data | None = None,
        caches: Caches = USUAL,
        memory: MemoryLimit = NO_LIMIT,
    ) -> None:
        self.recalibration = data if recalibration is None else recalibration
        self.supernet, self.data, self.config, self.images = supernet, data, config, images
        self.device, self.world = device, world
        if torch.device(device).type == "cpu":
            keep_freed_memory()
        self._cache: OrderedDict[tuple[str, str, int, int], list[Tensor]] = OrderedDict()
        self.caches, self.memory = caches, memory
        self._starts = SharedStarts(caches.starts)
        self._fit_caches()

    def size(self, split: str = "validation") -> int:
        """Number of images on which an accuracy on `split` is measured."""
        if not self.data.record.images:
            raise UserError(f"data {self.data.name}: photos without labels; nothing can be measured on them")
        available = len(self.data.labels(split))
        return min(available, self.images or available)

    def module(self, subnet: Subnet) -> nn.Module:
        """The subnet as a plain network with its own batch-norm statistics, in eval mode."""
        module = self.extracted(subnet)
        self.recalibrate(module, subnet.resolution)
        return module.eval()

    def extracted(self, subnet: Subnet) -> Net:
        """The subnet as a plain network whose batch norm is not recalibrated."""
        module: Net = extract(self.supernet, subnet).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module

    def recalibrate(self, module: nn.Module, resolution: int) -> None:
        """Recalibrate the batch norm of a plain network, in place."""
        recalibrate_batch_norm(module, self.recalibration_images(resolution))

    def recalibration_images(self, resolution: int) -> Iterable[Tensor]:
        """Batches of training images for batch-norm statistics."""
        return self._batches(self.recalibration, "train", resolution, self.config.recalibration_images)

    def labels(self, split: str = "validation") -> npt.NDArray[np.int64]:
        """Labels of the images on which an accuracy on `split` is measured, int64[images]."""
        return self.data.labels(split)[: self.size(split)]

    def top1(self, subnets: Sequence[Subnet], split: str = "validation", progress: bool = False) -> npt.NDArray[np.float64]:
        """Top-1 accuracy of each subnet at its own resolution, float64[n] in [0, 1]."""
        return np.array([TOP1.value(counts) for counts in self.counts(subnets, split, progress)], dtype=np.float64)

    @torch.inference_mode()
    def counts(self, subnets: Sequence[Subnet], split: str = "validation", progress: bool = False) -> list[ClassCounts]:
        """The correctly classified images of each class, for each subnet at its own resolution."""
        labels = self.labels(split)  # raises for an unknown split, before a bar appears
        values = self.world.map(lambda subnet: self.count(self.correct(subnet, split), labels), subnets)
        bar = tqdm(values, f"measuring on {split}", len(subnets), unit="subnet", disable=not progress)
        self._fit_caches()
        found = list(bar)
        self._starts.clear()  # the supernet may train on
        if self.memory.mb is not None:
            self._cache.clear()
            self.memory.let_go()
        return found

    def _fit_caches(self) -> None:
        """Bound the caches anew by what the process holds now."""
        working = working_bytes(self.supernet.space, self.config.batch_size)
        self._bounds = self.memory.caches(self.caches, working)
        self._starts.limit_bytes = self._bounds.starts

    def count(self, right: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64]) -> ClassCounts:
        """Count the correctly classified images of each class, from bool[images] and these labels."""
        return ClassCounts.of(right, labels, len(self.data.classes))

    @torch.inference_mode()
    def correct(self, subnet: Subnet, split: str = "validation") -> npt.NDArray[np.bool_]:
        """For each image, whether the top-1 prediction is its label, bool[images], in the same order for every subnet.

        Outputs of first blocks, which many subnets share, are kept between calls, up to `caches.starts`.
        """
        seen = ImagesSeen(self.recalibration_images(subnet.resolution), self._images(split, subnet.resolution))
        ends = []
        if isinstance(seen.recalibration, list) and isinstance(seen.images, list):  # else too many to keep
            count = sum(map(len, (*seen.recalibration, *seen.images)))
            ends = self._starts.ends(self.supernet.space, subnet, count)
        predictions = self._starts.predictions(self.extracted(subnet), seen, f"{split} {subnet.resolution}", ends)
        self.memory.check("measurements")
        return self._is_label(predictions, split)

    @torch.inference_mode()
    def correct_of(self, module: nn.Module, resolution: int, split: str = "validation") -> npt.NDArray[np.bool_]:
        """`correct` for a plain network, which is changed in place and can only be evaluated afterwards."""
        speed_up(module)
        return self.classified(module, resolution, split)

    @torch.inference_mode()
    def classified(self, module: nn.Module, resolution: int, split: str = "validation") -> npt.NDArray[np.bool_]:
        """`correct` for a plain network in eval mode, as it is."""
        return self._is_label(torch.cat([module(images).argmax(1) for images in self._images(split, resolution)]), split)

    def _is_label(self, predictions: Tensor, split: str) -> npt.NDArray[np.bool_]:
        return np.asarray(predictions.cpu().numpy() == self.data.labels(split)[: len(predictions)])

    def _images(self, split: str, resolution: int) -> Iterable[Tensor]:
        return self._batches(self.data, split, resolution, self.size(split))

    def _batches(self, data: Data, split: str, resolution: int, limit: int) -> Iterable[Tensor]:
        """Prepared images; a list where they are cached."""
        limit = min(limit, len(data.labels(split)))
        whole = data.batches(
            split,
            batch_size=min(self.config.batch_size, limit),
            resolution=resolution,
            shuffle=False,
            augment=False,
            limit=limit,
            device=self.device,
        )
        batches = (images for images, _ in whole)
        if 4 * limit * data.channels * resolution**2 > self._bounds.images:
            return batches
        key = (data.name, split, resolution, limit)
        kept = self._cache[key] = self._cache.pop(key, []) or list(batches)  # moved to the end: most recently used
        while sum(4 * batch.numel() for images in self._cache.values() for batch in images) > self._bounds.all_images:
            self._cache.popitem(last=False)
        return kept
