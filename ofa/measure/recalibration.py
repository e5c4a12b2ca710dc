"""Recalibration: batch-norm statistics of one subnet, measured on a few batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from ofa.errors import UserError
from ofa.measure.fast_inference import LARGE_MAP_PIXELS, normalised, statistics_behind, widens
from ofa.nets.plain import ConvNorm

PIXELS_AT_ONCE = 8192
"""Pixels per channel that one sum adds up on a CPU; more would lose accuracy."""


@torch.no_grad()
def recalibrate_batch_norm(module: nn.Module, batches: Iterable[Tensor]) -> list[Tensor]:
    """Replace a plain module's batch-norm statistics by those of `batches`, in place; nothing else changes.

    While the batches run, every layer normalises with the mean and biased variance of the current batch, and the averages of
    these over batches are collected, weighted by batch size as in the published package. On an exception the module is left
    as it was.

    Args:
        module: a plain network, as `extract` returns it.
        batches: images, float32[batch, channels, height, width] each.

    Returns:
        The module's output for each batch.

    Raises:
        UserError: there are no batches.
    """
    averages = _Averages(module)
    saved = {norm: (_mean(norm).clone(), _var(norm).clone()) for norm in averages.sums}
    modes = {child: child.training for child in module.modules()}
    images, outputs = 0, []
    try:
        module.eval()  # so that a layer normalises with the statistics that its hook has just set
        with averages.collected():
            for batch in batches:
                outputs.append(module(batch))
                images += len(batch)
        if images == 0:
            raise UserError("batch-norm recalibration got no images; give at least one batch")
        _set({norm: (mean / images, var / images) for norm, (mean, var) in averages.sums.items()})
    except BaseException:
        _set(saved)
        raise
    finally:
        for child, training in modes.items():
            child.training = training
    return outputs


class _Averages:
    """Collects the statistics of all batch norms of a module while it runs, as sums weighted by batch size."""

    def __init__(self, module: nn.Module) -> None:
        norms = [child for child in module.modules() if isinstance(child, nn.BatchNorm2d)]
        self.sums = {norm: (torch.zeros_like(_mean(norm)), torch.zeros_like(_var(norm))) for norm in norms}
        self._widening = [child for child in module.modules() if isinstance(child, ConvNorm) and widens(child)]

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Run a block in which every layer normalises with the statistics of the current batch, and these are collected."""
        hooks = [norm.register_forward_pre_hook(self._use_batch_statistics) for norm in self.sums]
        try:
            for block in self._widening:
                block.forward = partial(self._widen, block)  # type: ignore[method-assign]
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for block in self._widening:
                vars(block).pop("forward", None)

    def _use_batch_statistics(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        values = batch_statistics(inputs[0])
        _set({norm: values})
        self._add(norm, values, len(inputs[0]))

    def _widen(self, block: ConvNorm, x_BCHW: Tensor) -> Tensor:
        if x_BCHW[0, 0].numel() < LARGE_MAP_PIXELS:
            return ConvNorm.forward(block, x_BCHW)
        values = statistics_behind(block.conv, x_BCHW)
        self._add(block.norm, values, len(x_BCHW))
        return normalised(block, x_BCHW, *values)

    def _add(self, norm: nn.BatchNorm2d, values: tuple[Tensor, Tensor], weight: int) -> None:
        for total, value in zip(self.sums[norm], values, strict=True):
            total.add_(value, alpha=weight)


def batch_statistics(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, float[channels] each.

    On a CPU, PyTorch adds up all pixels of a channel in one float32 sum: for 64 channels-last images of 112 x 112 pixels,
    the variance is off by 4e-4. So it is called for a few images at a time, and the results are combined (error 1e-6). On a
    GPU, PyTorch uses Welford's algorithm on many short rows, and hundreds of parts would be hundreds of kernels.
    """
    pixels = PIXELS_AT_ONCE if x_BCHW.device.type == "cpu" else x_BCHW[:, 0].numel()
    parts = torch.split(x_BCHW, max(1, pixels // x_BCHW[0, 0].numel()))
    found = [torch.batch_norm_update_stats(part, None, None, 0.0) for part in parts]
    if len(found) == 1:
        return found[0][0], found[0][1]
    means, variances = map(torch.stack, zip(*found, strict=True))  # parts x channels
    images = torch.tensor([[len(part)] for part in parts], dtype=means.dtype)
    shares = images.to(means.device, non_blocking=True) / len(x_BCHW)
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0)


def _set(statistics: Mapping[nn.BatchNorm2d, tuple[Tensor, Tensor]]) -> None:
    for norm, (mean, var) in statistics.items():
        _mean(norm).copy_(mean)
        _var(norm).copy_(var)


def _mean(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_mean is not None
    return norm.running_mean


def _var(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_var is not None
    return norm.running_var
