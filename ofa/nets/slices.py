"""Slice the weights of a subnet out of those of the supernet, as numpy arrays or torch tensors.

The supernet's forward pass, extraction, and queries (which do not import torch) all call these functions. A smaller kernel
is the centre of a larger one, optionally multiplied by a learned matrix (OFA, section 3.3); a narrower layer has the leading
channels. This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ofa.space.layers import layers, named_blocks
from ofa.space.ops import OpShape
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Subnet

Array = TypeVar("Array", bound=Any)
"""`numpy.ndarray` or `torch.Tensor`."""
Product = Callable[[Array, Array], Array]
"""Takes rows [..., n] and a matrix [m, n]; returns [..., m], each row times the transposed matrix."""
STATISTICS = ("running_mean", "running_var")
NORM = ("weight", "bias", *STATISTICS)


def transform_name(large: int, small: int) -> str:
    """Name of the matrix that transforms a kernel into the next smaller one."""
    return f"transform_{large}to{small}"


def centre(weight: Array, kernel: int) -> Array:
    """The central `kernel` x `kernel` pixels of a weight [out, in, height, width]."""
    start = (weight.shape[-1] - kernel) // 2
    central: Array = weight[:, :, start : start + kernel, start : start + kernel]
    return central


def ordered_product(rows: Array, matrix: Array) -> Array:
    """A `Product` that adds its terms in a fixed order, so that numpy and torch give the same bits."""
    total: Array = rows[..., :1] * matrix[:, 0]
    for j in range(1, matrix.shape[1]):
        total = total + rows[..., j : j + 1] * matrix[:, j]
    return total


def conv_weight(
    weight: Array,
    channels: tuple[int, int],
    kernel: int,
    kernels: Sequence[int],
    matrix: Callable[[int, int], Array] | None,
    product: Product[Array] = ordered_product,
) -> Array:
    """The weight of a smaller convolution, [out_channels, in_channels, kernel, kernel]; a view if no matrix is applied.

    Args:
        weight: the largest weight, [out, in, height, width].
        channels: output channels, and input channels of a group.
        kernel: kernel size in pixels.
        kernels: the kernel sizes to choose from, ascending.
        matrix: returns the learned matrix from a kernel size to the next smaller one; None: the centre is taken as it is.
        product: multiplies the pixels by the matrix.
    """
    out_channels, in_channels = channels
    weight = weight[:out_channels, :in_channels]
    if matrix is None or kernel == weight.shape[-1]:
        return centre(weight, kernel)
    for i in range(len(kernels) - 1, kernels.index(kernel), -1):
        small = kernels[i - 1]
        rows = centre(weight, small).reshape(*weight.shape[:2], small**2)
        weight = product(rows, matrix(kernels[i], small)).reshape(*weight.shape[:2], small, small)
    return weight


def subnet_tensors(tensors: Mapping[str, Array], space: SearchSpace, subnet: Subnet) -> dict[str, Array]:
    """The state dict of a subnet, sliced out of the supernet's, with the names of the plain network.

    All but transformed kernels are views of the supernet's tensors. Batch-norm statistics are the supernet's, which fit no
    subnet: recalibrate them before use. `num_batches_tracked` is zero.

    Raises:
        KeyError: a tensor is missing.
    """
    found: dict[str, Array] = {}
    for block in named_blocks(space, subnet):
        for name, op in layers(block.shape).items():
            found |= _layer(tensors, f"{block.name}.{name}", op, block.kernels, space.kernel_transforms)
    return found


def _layer(
    tensors: Mapping[str, Array], name: str, op: OpShape, kernels: Sequence[int], transforms: bool
) -> dict[str, Array]:
    holder = f"{name}.conv" if op.norm else name
    weight = tensors[f"{holder}.weight"]
    if op.kind == "linear":
        found = {f"{holder}.weight": weight[:, : op.in_channels]}
    else:

        def matrix(large: int, small: int) -> Array:
            return tensors[f"{holder}.{transform_name(large, small)}"]

        channels = op.out_channels, op.in_channels // op.groups
        found = {f"{holder}.weight": conv_weight(weight, channels, op.kernel, kernels, matrix if transforms else None)}
    if op.bias:
        found[f"{holder}.bias"] = tensors[f"{holder}.bias"][: op.out_channels]
    if op.norm:
        found |= {f"{name}.norm.{key}": tensors[f"{name}.norm.{key}"][: op.out_channels] for key in NORM}
        found[f"{name}.norm.num_batches_tracked"] = tensors[f"{name}.norm.num_batches_tracked"] * 0
    return found
