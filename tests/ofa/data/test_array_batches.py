"""Batches of stored images as numpy arrays: those that `Data.batches` makes with torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ofa.data.array_batches import array_batches
from ofa.data.augment.augmentation import resize
from ofa.data.augment.resampling import resize_weights


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [7, 12, 16])
def test_batches_are_resized_and_normalised_as_torch_does(channels: int, resolution: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 12, channels), dtype=np.uint8)
    mean, std = [0.3, 0.4, 0.5][:channels], [0.2, 0.25, 0.3][:channels]
    batches = list(array_batches(pixels, resolution, mean, std, 4))
    assert [batch.shape for batch in batches] == [(channels, resolution, resolution, n) for n in (4, 4, 2)]
    assert {batch.dtype for batch in batches} == {np.dtype(np.float32)}
    images = resize(torch.from_numpy(pixels).permute(0, 3, 1, 2).float(), resolution)
    shift, scale = (torch.tensor(values).view(1, -1, 1, 1) * 255 for values in (mean, std))
    expected = ((images - shift) / scale).permute(1, 2, 3, 0).numpy()
    np.testing.assert_allclose(np.concatenate(batches, axis=3), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("size", "resolution"), [(12, 7), (12, 16), (28, 24), (5, 1), (3, 9)])
def test_resizing_is_that_of_pytorch(size: int, resolution: int) -> None:
    rows = torch.rand(1, 1, 4, size, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(rows, (4, resolution), mode="bilinear", antialias=True)
    found = rows.numpy() @ resize_weights(size, resolution).T
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)
