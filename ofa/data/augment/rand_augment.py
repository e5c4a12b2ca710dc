"""RandAugment (Cubuk et al., arXiv:1909.13719) of a whole batch at once, on its device.

Every image gets its own operations out of `OPERATIONS`, all at the same magnitude, with a random sign where that makes
sense. The ranges are those of the paper. Its operation `equalize` is left out, because there is no cheap version for a
batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from ofa.data.augment.luma import grey
from ofa.distributed import draws
from ofa.files.bounds import AtLeast, AtMost, Bounded, Count

LARGEST_MAGNITUDE = 10.0


@dataclass(frozen=True, kw_only=True)
class RandAugmentConfig(Bounded):
    """Number and strength of the operations."""

    operations: Count = 2
    """Number of operations applied to each image, one after the other."""
    magnitude: Annotated[float, AtLeast(0), AtMost(LARGEST_MAGNITUDE)] = 9.0
    """Strength of the operations: 0 (none) to 10 (all of an operation's range)."""


def rand_augment(images: Tensor, config: RandAugmentConfig, generator: torch.Generator) -> Tensor:
    """Vary images in 0..255, float32[batch, channels, height, width]; the shape is kept.

    `generator` is on the CPU, so that choices are the same on every device, and no device is waited for.
    """
    images = images.clone()
    for _ in range(config.operations):
        chosen = draws.integers(len(OPERATIONS), len(images), generator)
        signs = draws.integers(2, len(images), generator) * 2 - 1
        for number, operation in enumerate(OPERATIONS.values()):
            members = (chosen == number).nonzero().flatten()
            if len(members):
                strength = (
                    (signs[members] * (config.magnitude / LARGEST_MAGNITUDE)).to(images, non_blocking=True).view(-1, 1, 1, 1)
                )
                places = members.to(images.device, non_blocking=True)
                images[places] = operation(images[places], strength)
    return images


# -- operations: images in 0..255 and strengths in [-1, 1], shape [batch, 1, 1, 1], to images ----------------------------


def _auto_contrast(images: Tensor, strength: Tensor) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) * 255 / (high - low).clamp(min=1e-6), images)


def _solarize(images: Tensor, strength: Tensor) -> Tensor:
    return torch.where(images >= 256 * (1 - strength.abs()), 255 - images, images)


def _posterize(images: Tensor, strength: Tensor) -> Tensor:
    step = 2 ** (4 * strength.abs()).floor()  # drops up to 4 of 8 bits
    return (images / step).floor() * step


def _brightness(images: Tensor, strength: Tensor) -> Tensor:
    return (images * (1 + 0.9 * strength)).clamp(0, 255)


def _contrast(images: Tensor, strength: Tensor) -> Tensor:
    mean = grey(images).mean((1, 2, 3), keepdim=True)
    return (mean + (images - mean) * (1 + 0.9 * strength)).clamp(0, 255)


def _saturation(images: Tensor, strength: Tensor) -> Tensor:
    luma = grey(images)
    return (luma + (images - luma) * (1 + 0.9 * strength)).clamp(0, 255)


def _sharpness(images: Tensor, strength: Tensor) -> Tensor:
    channels = images.shape[1]
    kernel = torch.ones(channels, 1, 3, 3, device=images.device, dtype=images.dtype)
    kernel[:, :, 1, 1] = 5
    smooth = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel / 13, groups=channels)
    return (smooth + (images - smooth) * (1 + 0.9 * strength)).clamp(0, 255)


def _rotate(images: Tensor, strength: Tensor) -> Tensor:
    angle = strength.flatten() * math.radians(30)
    sine, cosine = angle.sin(), angle.cos()
    return _affine(images, (cosine, -sine, 0 * angle), (sine, cosine, 0 * angle))


def _shear_x(images: Tensor, strength: Tensor) -> Tensor:
    one = torch.ones_like(strength.flatten())
    return _affine(images, (one, 0.3 * strength.flatten(), 0 * one), (0 * one, one, 0 * one))


def _shear_y(images: Tensor, strength: Tensor) -> Tensor:
    one = torch.ones_like(strength.flatten())
    return _affine(images, (one, 0 * one, 0 * one), (0.3 * strength.flatten(), one, 0 * one))


def _translate_x(images: Tensor, strength: Tensor) -> Tensor:
    one = torch.ones_like(strength.flatten())
    return _affine(images, (one, 0 * one, 0.9 * strength.flatten()), (0 * one, one, 0 * one))


def _translate_y(images: Tensor, strength: Tensor) -> Tensor:
    one = torch.ones_like(strength.flatten())
    return _affine(images, (one, 0 * one, 0 * one), (0 * one, one, 0.9 * strength.flatten()))


def _affine(images: Tensor, top: tuple[Tensor, ...], bottom: tuple[Tensor, ...]) -> Tensor:
    """Images resampled at the points to which the matrix [top, bottom] maps pixels (units: half a side); black outside."""
    matrix = torch.stack([torch.stack(top, dim=1), torch.stack(bottom, dim=1)], dim=1)  # [batch, 2, 3]
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda images, strength: images,
    "auto_contrast": _auto_contrast,
    "rotate": _rotate,
    "solarize": _solarize,
    "posterize": _posterize,
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "sharpness": _sharpness,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
