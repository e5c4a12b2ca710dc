"""The grey of colour images."""

from __future__ import annotations

import torch
from torch import Tensor

# ITU-R BT.601 luma, the weights Pillow converts RGB to grey with.
LUMA = (0.299, 0.587, 0.114)


def grey(images: Tensor) -> Tensor:
    """float32[batch, channels, height, width] to one channel; images of other than 3 channels are averaged."""
    if images.shape[1] != len(LUMA):
        return images.mean(dim=1, keepdim=True)
    weights = torch.tensor(LUMA, dtype=images.dtype).view(1, -1, 1, 1).to(images.device, non_blocking=True)
    return (images * weights).sum(dim=1, keepdim=True)
