"""A torch module that takes images without normalisation, for converters that trace a module."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.nets.plain import Net, fold_batch_norm


class CameraNet(nn.Module):
    """Maps images [batch, side, side, channels], uint8 in 0 to 255 or float32 in 0 to 1, to logits; batch norm is folded."""

    factor: Tensor
    shift: Tensor

    def __init__(self, net: Net, image: ImageInput) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).eval()
        fold_batch_norm(self.net)
        scale = 255 if image.as_uint8 else 1
        std = torch.tensor(image.std, dtype=torch.float64)
        self.register_buffer("factor", (1 / (std * scale)).float().view(1, -1, 1, 1))
        self.register_buffer("shift", (-torch.tensor(image.mean, dtype=torch.float64) / std).float().view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float32[batch, classes]."""
        x_BCHW = images.permute(0, 3, 1, 2).float() * self.factor + self.shift
        logits: Tensor = self.net(x_BCHW)
        return logits
