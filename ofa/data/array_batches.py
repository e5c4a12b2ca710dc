"""Square images as normalised numpy batches, without torch: the same values as unshuffled `Data.batches`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ofa.data.augment.resampling import resize_weights


def array_batches(
    pixels: npt.NDArray[np.uint8], resolution: int, mean: Sequence[float], std: Sequence[float], batch_size: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Batches of images in order; the last may be smaller.

    Args:
        pixels: uint8[n, side, side, channels].
        resolution: side in pixels to which the images are resized.
        mean: mean of each channel, for pixel values in [0, 1].
        std: standard deviation of each channel, likewise.
        batch_size: images per batch.

    Yields:
        float32[channels, resolution, resolution, images], normalised.
    """
    shift, scale = (255 * np.array(values, dtype=np.float32)[:, None, None, None] for values in (mean, std))
    for start in range(0, len(pixels), batch_size):
        batch = np.ascontiguousarray(pixels[start : start + batch_size].transpose(3, 1, 2, 0)).astype(np.float32)
        side = batch.shape[1]
        if side != resolution:
            weights = resize_weights(side, resolution)
            batch = weights @ batch  # [resolution, side] times each column of pixels, of each channel and row
            batch = (weights @ batch.reshape(len(batch), side, -1)).reshape(len(batch), resolution, resolution, -1)
        batch -= shift
        batch /= scale
        yield batch
