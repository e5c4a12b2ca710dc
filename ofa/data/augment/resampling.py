"""Weights that resize a row of pixels, for whole images in numpy and in torch. No torch here."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt


@cache
def resize_weights(size: int, resolution: int) -> npt.NDArray[np.float32]:
    """Weights that make `resolution` pixels out of a row of `size`, by a triangle filter, widened where it shrinks.

    Returns:
        float32[resolution, size], rows summing to 1: equal to Pillow's and PyTorch's antialiased bilinear resizing. Do not
        write to it.
    """
    centers = size * ((np.arange(resolution, dtype=np.float32) + 0.5) / resolution).astype(np.float32)
    reach = np.float32(max(1.0, size / resolution))
    distances = np.abs(centers[:, None] - (np.arange(size, dtype=np.float32) + np.float32(0.5)))
    weights: npt.NDArray[np.float32] = np.maximum(1 - distances / reach, 0).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
