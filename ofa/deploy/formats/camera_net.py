"""A network that takes images as a camera gives them, as a torch module: for converters that trace one."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ofa.deploy.formats.folded_weights import convolutions
from ofa.deploy.formats.format import Deployable
from ofa.measure.shared_starts import pieces
from ofa.nets.plain import fold_batch_norm
from ofa.space.shapes import CONVOLUTIONS, walk_blocks


class CameraNet(nn.Module):
    """Images, [batch, side, side, channels], to logits; batch norm is folded, and the deviation too.

    Values are uint8 of 0 to 255, or float32 of 0 to 1; with `centred` float32 of 0 to 1 less `centre`, the mean of the
    channels' means. A converter to int8 then finds that an input of pixel - 128 is just its quantised form.
    """

    def __init__(
        self, source: Deployable, *, as_uint8: bool = False, centred: bool = False, same_padding: bool = False
    ) -> None:
        """`same_padding` makes the padding of every convolution that which TensorFlow calls SAME."""
        super().__init__()
        self.net = copy.deepcopy(source.net).eval()
        fold_batch_norm(self.net)
        self.as_uint8 = as_uint8
        self.centre = float(np.mean(source.image.mean)) if centred else 0.0
        std = torch.tensor(source.image.std).view(1, -1, 1, 1)
        first = convolutions(self.net.stem)[0]
        first.weight.data /= std * (255 if as_uint8 else 1)
        shift = (self.centre - torch.tensor(source.image.mean).view(1, -1, 1, 1)) * (255 if as_uint8 else 1)
        self.shift = _shift(shift.flatten()) if shift.abs().max() > 1e-7 else nn.Identity()
        if same_padding:
            self._pad_same(source)

    def forward(self, images: Tensor) -> Tensor:
        """Float32[batch, classes]."""
        x_BCHW = images.permute(0, 3, 1, 2)
        if self.as_uint8:
            x_BCHW = x_BCHW.float()
        logits: Tensor = self.net(self.shift(x_BCHW))
        return logits

    def _pad_same(self, source: Deployable) -> None:
        """A row and a column of zeros behind every kernel of stride 2 on a map of even size.

        PyTorch pads `kernel // 2` on both sides, TensorFlow so much less behind that a converter writes the padding as an
        operation of its own, whose copy stands beside the map. With the larger kernel both pad alike.
        """
        for shape, block in zip(walk_blocks(source.space, source.subnet), pieces(self.net), strict=True):
            ops = [op for op in shape.ops if op.kind in CONVOLUTIONS]
            for op, conv in zip(ops, convolutions(block), strict=True):
                if op.kind == "conv" and op.stride == 2 and op.in_size % 2 == 0 and op.kernel > 1:
                    conv.weight = nn.Parameter(F.pad(conv.weight.data, (0, 1, 0, 1)), requires_grad=False)
                    conv.kernel_size = (op.kernel + 1, op.kernel + 1)


def _shift(by: Tensor) -> nn.Conv2d:
    """Add constants, one a channel, by a convolution: as a sum, they took half the time of a small net on an Ethos-U."""
    conv = nn.Conv2d(len(by), len(by), 1, groups=len(by))
    conv.weight = nn.Parameter(torch.ones_like(conv.weight), requires_grad=False)
    conv.bias = nn.Parameter(by, requires_grad=False)
    return conv
