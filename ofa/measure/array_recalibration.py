"""Recalibrate the batch-norm statistics of one subnet on numpy arrays: `recalibrate_batch_norm` without torch.

Feature maps are [channels, height, width, images]: a 1x1 convolution is then one matrix product, a shift of a depthwise
convolution moves whole rows of images, and the statistics of a channel are sums over contiguous memory. The results equal
torch's up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError
from ofa.nets.slices import STATISTICS
from ofa.space.activations import ACTIVATIONS
from ofa.space.layers import NamedBlock, layers, named_blocks
from ofa.space.ops import CONVOLUTIONS, OpShape
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Subnet

Array = npt.NDArray[np.float32]
Tensors = dict[str, npt.NDArray[np.generic]]
VALUES_AT_ONCE = 2**16
"""Values of a feature map that are worked on between two looks at memory: a quarter of a megabyte."""


def recalibrated(
    space: SearchSpace, subnet: Subnet, tensors: Mapping[str, npt.NDArray[np.generic]], batches: Iterable[Array]
) -> Tensors:
    """The tensors of a subnet with recalibrated batch-norm statistics.

    Every layer normalises with the current batch's mean and biased variance; their averages over batches, weighted by batch
    size, become its statistics.

    Args:
        space: the space of the subnet.
        subnet: the subnet.
        tensors: its state dict, with the names of the plain network.
        batches: normalised images, float32[channels, height, width, images] each.

    Raises:
        UserError: no batches.
    """
    blocks = list(named_blocks(space, subnet))
    seen, images = _Statistics(), 0
    for batch in batches:
        x = batch
        net = _Net(tensors, space.norm_eps, seen)
        for block in blocks:
            x = net.block(block, x)
        images += batch.shape[3]
    if images == 0:
        raise UserError("batch-norm recalibration got no images; give at least one batch")
    found = dict(tensors)
    for name, total in seen.totals.items():
        for key, value in zip(STATISTICS, total / images, strict=True):
            found[f"{name}.{key}"] = value.astype(np.float32)
    return found


def statistics_of(tensors: Mapping[str, npt.NDArray[np.generic]]) -> Array:
    """All batch-norm statistics of a subnet's state as one row, float32[values], by the names of its tensors."""
    return np.concatenate([tensors[key].astype(np.float32) for key in _places(tensors)])


def with_statistics(tensors: Mapping[str, npt.NDArray[np.generic]], values: Array) -> Tensors:
    """A subnet's state with the statistics that `statistics_of` made a row of; raises `UserError` for another number."""
    ends = np.cumsum([len(tensors[key]) for key in _places(tensors)])
    if values.shape != (ends[-1],):
        raise UserError(f"{len(values)} batch-norm statistics; the network has {ends[-1]}")
    return dict(tensors) | dict(zip(_places(tensors), np.split(values, ends[:-1]), strict=True))


def _places(tensors: Mapping[str, npt.NDArray[np.generic]]) -> list[str]:
    return sorted(key for key in tensors if key.endswith(STATISTICS))


@dataclass
class _Statistics:
    """Sums over batches of mean and biased variance times the batch's images, float64[2, channels] for each batch norm."""

    totals: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def add(self, name: str, values: npt.NDArray[np.float64], images: int) -> None:
        self.totals[name] = self.totals.get(name, 0.0) + values * images


@dataclass
class _Net:
    """The forward pass of one batch up to the last batch norm."""

    tensors: Mapping[str, npt.NDArray[np.generic]]
    eps: float
    statistics: _Statistics

    def block(self, block: NamedBlock, x: Array) -> Array:
        """The output of one block; the head stops before its pooling, after which there is no batch norm."""
        names = (f"{block.name}.{name}" for name in layers(block.shape))  # in the order of its operations
        beside = self.chain(block.shape.shortcut, names, x, x)
        main = block.shape.main
        if block.shape.kind == "head":
            main = main[: [op.kind for op in main].index("global_pool")]
        return self.chain(main, names, x, None if block.shape.kind == "stem" else beside)

    def chain(self, ops: Sequence[OpShape], names: Iterator[str], x: Array, beside: Array | None) -> Array:
        """Operations in order; `add` adds `beside`, the other branch, or if that is None the input of the one before."""
        before = pooled = x
        for op in ops:
            given = x
            if op.kind in CONVOLUTIONS:
                x = self.convolution(op, next(names), x)
            elif op.kind == "global_pool":
                pooled, x = x, x.mean((1, 2), keepdims=True)
            elif op.kind == "scale":
                x = np.multiply(pooled, x, out=pooled)
            elif op.kind == "add":
                x = np.add(x, before if beside is None else beside, out=x)
                ACTIVATIONS[op.activation].array(x)
            else:
                x = _max_pool(op, x) if op.kind == "max_pool" else _average_pool(op, x)
            before = given
        return x

    def convolution(self, op: OpShape, name: str, x: Array) -> Array:
        """A convolution with its bias or batch norm, then its activation; returns a new array."""
        holder = f"{name}.conv" if op.norm else name
        weight = np.asarray(self.tensors[f"{holder}.weight"], dtype=np.float32)
        depthwise = op.groups > 1
        y = _depthwise(op, weight, x) if depthwise else _dense(op, weight, x)
        if op.bias:
            y += np.asarray(self.tensors[f"{holder}.bias"])[:, None, None, None]
        if op.norm:
            self.normalise(op, name, y)
        else:
            ACTIVATIONS[op.activation].array(y)
        return y

    def normalise(self, op: OpShape, name: str, y: Array) -> None:
        """Apply batch norm and activation in place, a few channels at a time, which fit into the processor's cache."""
        weight, bias = (np.asarray(self.tensors[f"{name}.norm.{key}"], dtype=np.float32) for key in ("weight", "bias"))
        values = np.empty((2, len(y)))
        rows = y.reshape(len(y), -1)
        pixels = np.float32(rows.shape[1])
        for part in _at_once(rows):
            some = rows[part]
            mean = np.add.reduce(some, axis=1) / pixels
            some -= mean[:, None]
            var = np.array([np.dot(row, row) for row in some]) / pixels
            some *= (weight[part] / np.sqrt(var + np.float32(self.eps)))[:, None]
            some += bias[part][:, None]
            ACTIVATIONS[op.activation].array(some)
            values[:, part] = mean, var
        self.statistics.add(f"{name}.norm", values, y.shape[3])


def _at_once(channels: Array) -> Iterator[slice]:
    """Channels that together fit into a processor's cache, and are enough for a call."""
    step = max(1, VALUES_AT_ONCE // channels[0].size)
    return (slice(start, start + step) for start in range(0, len(channels), step))


def _dense(op: OpShape, weight: Array, x: Array) -> Array:
    """A convolution over all channels, as one matrix product."""
    channels, _, _, images = x.shape
    if op.kernel > 1:
        taps = list(_shifts(op, x))
        height, width = taps[0].shape[1:3]
        columns = np.stack(taps, axis=1).reshape(channels * op.kernel**2, -1)
    else:
        kept = x[:, :: op.stride, :: op.stride]
        height, width = kept.shape[1:3]
        columns = kept.reshape(channels, -1)
    return (weight.reshape(len(weight), -1) @ columns).reshape(-1, height, width, images)


def _depthwise(op: OpShape, weight: Array, x: Array) -> Array:
    """A convolution of each channel with its own kernel, as a sum of shifts."""
    height, width = ((size - 1) // op.stride + 1 for size in x.shape[1:3])
    y = np.empty((len(x), height, width, x.shape[3]), dtype=np.float32)
    factors = weight.reshape(len(weight), -1)[:, :, None, None, None]
    for part in _at_once(x):
        total, term = y[part], np.empty_like(y[part])
        for tap, seen in enumerate(_shifts(op, x[part])):
            np.multiply(seen, factors[part, tap], out=term if tap else total)
            if tap:
                total += term
    return y


def _shifts(op: OpShape, x: Array) -> Iterator[Array]:
    """The input pixels of each tap of a kernel, row after row: views of the padded feature map."""
    padding, (channels, height, width, images) = op.kernel // 2, x.shape
    padded = np.zeros((channels, height + 2 * padding, width + 2 * padding, images), dtype=np.float32)
    padded[:, padding : padding + height, padding : padding + width] = x
    for top in range(op.kernel):
        for left in range(op.kernel):
            rows = padded[:, top : top + height : op.stride]
            yield rows[:, :, left : left + width : op.stride]


def _max_pool(op: OpShape, x: Array) -> Array:
    """Max pooling; the padding is -inf, as in torch."""
    padding = op.kernel // 2
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(x, pads, constant_values=-np.inf)
    taps = [
        padded[:, top : top + x.shape[1] : op.stride, left : left + x.shape[2] : op.stride]
        for top in range(op.kernel)
        for left in range(op.kernel)
    ]
    largest: Array = np.max(taps, axis=0)
    return largest


def _average_pool(op: OpShape, x: Array) -> Array:
    """Average pooling over windows that do not overlap; the last may be smaller."""
    for axis in (1, 2):
        size = x.shape[axis]
        starts = np.arange(0, size, op.stride)
        counts = np.minimum(op.stride, size - starts).astype(np.float32)
        x = np.add.reduceat(x, starts, axis=axis) / counts.reshape([-1 if i == axis else 1 for i in range(4)])
    return x
