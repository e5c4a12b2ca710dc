"""Augmentation of a whole batch at once, on the device the batch is on.

Every function draws its choices from the given generator, which is on the CPU, so that choices are the same on every device;
none waits for the GPU. All are vectorised over the batch: crops are index arithmetic, flips a `where`. Images of bytes are
[n, height, width, channels], as stored; images of floats are [batch, channels, height, width] in 0..255 until normalised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ofa.data.augment.luma import LUMA, grey
from ofa.data.augment.rand_augment import RandAugmentConfig, rand_augment
from ofa.data.augment.resampling import resize_weights
from ofa.distributed import draws
from ofa.files.bounds import AtLeast, AtMost, Bounded, UnitInterval


class _Range:
    """The bound of a range of areas: [low, high] with 0 < low <= high <= 1."""

    def complaint(self, name: str, value: tuple[float, ...], verb: str) -> str | None:
        if len(value) == 2 and 0 < value[0] <= value[1] <= 1:
            return None
        return f"{name} {verb} {list(value)}; expected [low, high] with 0 < low <= high <= 1"

    def as_json(self) -> dict[str, Any]:
        return {"minItems": 2, "maxItems": 2, "items": {"exclusiveMinimum": 0, "maximum": 1}}


Range = Annotated[tuple[float, ...], _Range()]


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Bounded):
    """Variation of training images; everything is off unless the recipe asks for it."""

    horizontal_flip: bool = False
    """Mirror an image left to right with probability one half."""
    vertical_flip: bool = False
    """Turn an image upside down with probability one half."""
    crop_padding: Annotated[int, AtLeast(0), AtMost(1024)] = 0
    """Shift an image by up to so many stored pixels, and fill with black (4 is usual for 32 px)."""
    random_resized_crop: Range | None = None
    """Range of the fraction of the area that a random crop keeps, such as [0.08, 1.0] (Szegedy et al., arXiv:1409.4842)."""
    brightness: UnitInterval = 0.0
    """Multiply pixels by a random factor out of [1 - brightness, 1 + brightness]."""
    contrast: UnitInterval = 0.0
    """Multiply the difference from the image's mean grey by such a factor."""
    saturation: UnitInterval = 0.0
    """Multiply the difference from the pixel's grey by such a factor; colour images only."""
    rand_augment: RandAugmentConfig | None = None
    """RandAugment, applied after the changes above."""
    erase_probability: UnitInterval = 0.0
    """Probability that a random rectangle is filled with the mean colour (random erasing, arXiv:1708.04896)."""
    erase_area: Range = (0.02, 0.33)
    """Range of the erased area, as a fraction of the image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.random_resized_crop is not None and self.crop_padding:
            raise ValueError("crop_padding and random_resized_crop are both given; give one of them")


def shift_and_flip(images: Tensor, side: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Cut a window out of uint8[batch, height, width, channels]: the centre, shifted and mirrored as the recipe says.

    Returns:
        uint8[batch, channels, side, side]; pixels outside the image are black.
    """
    batch, height, width, _ = images.shape
    padding = config.crop_padding
    if padding:
        images = F.pad(images, (0, 0, padding, padding, padding, padding))
        windows = images.unfold(1, side, 1).unfold(2, side, 1)  # a view: [batch, tops, lefts, channels, side, side]
        shifts = [draws.integers(2 * padding + 1, batch, generator) for _ in range(2)]
        tops, lefts = (height - side) // 2 + shifts[0], (width - side) // 2 + shifts[1]
        device = images.device
        tops, lefts = tops.to(device, non_blocking=True), lefts.to(device, non_blocking=True)
        images = windows[torch.arange(batch, device=device), tops, lefts]
    else:
        images = center(images, side).permute(0, 3, 1, 2)
    return flip(images, generator) if config.horizontal_flip else images


def center(images: Tensor, side: int) -> Tensor:
    """The central `side` x `side` window of uint8[batch, height, width, channels], a view."""
    top, left = (images.shape[1] - side) // 2, (images.shape[2] - side) // 2
    return images[:, top : top + side, left : left + side]


def crop_boxes(
    count: int, height: int, width: int, area: tuple[float, ...], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes of random area and aspect ratio (3/4 to 4/3) inside an image: left, top, width, height, float64[count] pixels.

    A box that does not fit is cut at the image's edges, so the number of draws is the same for every image.
    """
    areas = _uniform(count, area, generator) * (height * width)
    aspects = torch.exp(_uniform(count, (math.log(3 / 4), math.log(4 / 3)), generator))
    widths = torch.sqrt(areas * aspects).clamp(1, width)
    heights = torch.sqrt(areas / aspects).clamp(1, height)
    lefts = _uniform(count, (0, 1), generator) * (width - widths)
    tops = _uniform(count, (0, 1), generator) * (height - heights)
    return lefts, tops, widths, heights


def random_resized_crop(
    images: Tensor, resolution: int, area: tuple[float, ...], mirror: bool, generator: torch.Generator
) -> Tensor:
    """A random box of each image, resampled and, with `mirror`, flipped with probability one half.

    float32[batch, channels, height, width] to float32[batch, channels, resolution, resolution]; antialiased bilinear.
    """
    batch, _, height, width = images.shape
    lefts, tops, widths, heights = crop_boxes(batch, height, width, area, generator)
    if mirror:
        flips = draws.uniform(batch, generator) < 0.5
        lefts, widths = torch.where(flips, lefts + widths, lefts), torch.where(flips, -widths, widths)
    lefts, tops, widths, heights = (box.to(images.device, non_blocking=True) for box in (lefts, tops, widths, heights))
    vertical = resampling(tops, heights, height, resolution)
    horizontal = resampling(lefts, widths, width, resolution)
    return vertical.unsqueeze(1) @ (images @ horizontal.mT.unsqueeze(1))


def resampling(starts: Tensor, lengths: Tensor, size: int, resolution: int) -> Tensor:
    """Weights that resample an interval of a row of pixels by a triangle filter, which is wider where the row shrinks.

    Args:
        starts: start of each interval in pixels, float64[n]; 0.5 is the middle of the first pixel.
        lengths: length of each interval in pixels, float64[n]; a negative one reads backwards.
        size: number of pixels in the row.
        resolution: number of pixels to make.

    Returns:
        float32[n, resolution, size], rows summing to 1: equal to Pillow's and PyTorch's antialiased bilinear resizing.
    """
    steps = (torch.arange(resolution, device=starts.device) + 0.5) / resolution
    centers = (starts.unsqueeze(1) + lengths.unsqueeze(1) * steps).float()
    reach = (lengths.abs() / resolution).clamp(min=1.0).float().view(-1, 1, 1)
    distances = (centers.unsqueeze(2) - (torch.arange(size, device=starts.device) + 0.5)).abs_()
    weights = (1 - distances.div_(reach)).clamp_(min=0.0)
    return weights.div_(weights.sum(dim=2, keepdim=True))


def flip(images: Tensor, generator: torch.Generator, dim: int = 3) -> Tensor:
    """Each image of [batch, channels, height, width] mirrored with probability one half; `dim` 2: upside down."""
    flips = draws.uniform(len(images), generator).view(-1, 1, 1, 1) < 0.5
    return torch.where(flips.to(images.device, non_blocking=True), images.flip(dim), images)


def resize(images: Tensor, resolution: int) -> Tensor:
    """Antialiased bilinear resampling to `resolution` x `resolution` pixels.

    Two matrix products do it, which for small images take half the time of `F.interpolate(antialias=True)`.
    """
    height, width = images.shape[2:]
    if (height, width) == (resolution, resolution):
        return images
    vertical, horizontal = (
        torch.from_numpy(resize_weights(size, resolution)).to(images, non_blocking=True) for size in (height, width)
    )
    return vertical @ (images @ horizontal.mT)


def jitter(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Random brightness, contrast, saturation and `rand_augment` of images in [0, 255], clipped to that range."""
    if config.brightness:
        images = images * _factor(images, config.brightness, generator)
    if config.contrast:
        mean = grey(images).mean(dim=(1, 2, 3), keepdim=True)
        images = mean + (images - mean) * _factor(images, config.contrast, generator)
    if config.saturation and images.shape[1] == len(LUMA):
        luma = grey(images)
        images = luma + (images - luma) * _factor(images, config.saturation, generator)
    if config.brightness or config.contrast or config.saturation:
        images = images.clamp(0, 255)
    return images if config.rand_augment is None else rand_augment(images, config.rand_augment, generator)


def erase(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """A random rectangle of normalised images set to 0 (the mean colour), with `erase_probability`."""
    if not config.erase_probability:
        return images
    batch, _, height, width = images.shape
    lefts, tops, widths, heights = crop_boxes(batch, height, width, config.erase_area, generator)
    chosen = draws.uniform(batch, generator).view(-1, 1, 1) < config.erase_probability
    drawn = (lefts, tops, widths, heights, chosen)
    lefts, tops, widths, heights, chosen = (values.to(images.device, non_blocking=True) for values in drawn)
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    in_rows = (rows >= tops.round().unsqueeze(1)) & (rows < (tops + heights).round().unsqueeze(1))  # [batch, height]
    in_columns = (columns >= lefts.round().unsqueeze(1)) & (columns < (lefts + widths).round().unsqueeze(1))
    erased = chosen & in_rows.unsqueeze(2) & in_columns.unsqueeze(1)
    return images.masked_fill(erased.unsqueeze(1), 0.0)


def _uniform(count: int, bounds: tuple[float, ...], generator: torch.Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * draws.uniform(count, generator, torch.float64)


def _factor(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    factors = _uniform(len(images), (1 - strength, 1 + strength), generator)
    return factors.to(images, non_blocking=True).view(-1, 1, 1, 1)
