"""Reading one image file with Pillow: upright, without transparency, 8 bits per channel.

Pillow is the extra `images`, imported when a file is opened. Only formats that Pillow decodes by itself are allowed, not
those for which it calls another program (EPS starts Ghostscript), whatever the ending of the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = (
    *("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF"),
    *("HEIF", "TGA", "ICO", "PCX", "SGI", "QOI", "DDS"),
)
"""Formats that may be read, by Pillow's names. HEIF is read where the package pillow-heif is installed."""
MODES = {1: "L", 3: "RGB"}
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
ORIENTATION = 0x0112
"""The EXIF tag for the orientation of the camera."""

Box = tuple[float, float, float, float]  # left, top, right, bottom
Choose = Callable[[int, int], Box]


@dataclass(frozen=True)
class Reading:
    """Settings for reading all files of a data set."""

    channels: int
    """1 (grey) or 3 (RGB); files are converted."""
    background: int = 255
    """Grey value, 0 (black) to 255 (white), behind the transparent areas of an image."""
    upright: bool = True
    """True: turn photographs upright by their EXIF orientation."""


def require_pillow() -> Any:
    """The module `PIL.Image`; raises `UserError` saying what to install when Pillow is missing."""
    try:
        from PIL import Image
    except ImportError:
        raise UserError("image files need Pillow; run: pip install 'ofa-energy[images]'") from None
    _register_heif()
    return Image


def suffixes() -> frozenset[str]:
    """Endings of the files that can be read, in lower case with a dot."""
    registered = require_pillow().registered_extensions()
    return frozenset(suffix for suffix, name in registered.items() if name in FORMATS)


def open_image(path: str) -> Image:
    """An opened file whose header has been read; raises `UserError` where it is not an image of an allowed format."""
    image_module = require_pillow()
    try:
        image: Image = image_module.open(path, formats=_known_formats(image_module))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image: {error}") from None
    return image


def is_image(path: str) -> bool:
    """Tell from the header of a file whether it is an image that can be read."""
    try:
        with open_image(path):
            return True
    except UserError:
        return False


def size_of(path: str, upright: bool = True) -> tuple[int, int]:
    """Height and width of the upright image, from the file's header."""
    with open_image(path) as image:
        width, height = image.size
        return (width, height) if upright and _orientation(image) >= 5 else (height, width)


def read_pixels(
    path: str, reading: Reading, resolution: int | None = None, choose: Choose | None = None, mirror: bool = False
) -> npt.NDArray[np.uint8]:
    """One file as uint8[height, width, channels].

    Args:
        path: the file; only the first frame of an animation is read.
        reading: settings for reading.
        resolution: side of the resulting square in pixels; None keeps the stored size.
        choose: takes height and width of the upright image, returns the box that becomes the square; only with `resolution`.
        mirror: True: swap left and right.

    Raises:
        UserError: the file is missing, damaged, of a format that is not allowed, or has more than 8 bits a channel.
    """
    image_module = require_pillow()
    with open_image(path) as image:
        deep = _deep(image)
        if deep:
            raise UserError(f"{path}: has pixels of mode {deep}, more than 8 bits; convert it to 8 bits")
        try:
            orientation = _orientation(image) if reading.upright else 1
            turned = orientation >= 5
            box = None
            if resolution is not None and choose is not None:
                height, width = image.size if turned else image.size[::-1]
                box = _drafted(image, choose(height, width), (height, width), resolution, turned)
            flat = _without_transparency(image, reading)
            if orientation > 1:
                flat = flat.transpose(image_module.Transpose(_TURNS[orientation]))
            if resolution is not None:
                flat = flat.resize((resolution, resolution), image_module.Resampling.BILINEAR, box=box)
            if mirror:
                flat = flat.transpose(image_module.Transpose.FLIP_LEFT_RIGHT)
            pixels = np.asarray(flat, dtype=np.uint8)
        except (OSError, ValueError, SyntaxError, MemoryError, image_module.DecompressionBombError) as error:
            raise UserError(f"{path}: corrupt image: {error}") from None
    return pixels.reshape(*pixels.shape[:2], reading.channels)


_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""Pillow's `Transpose` that makes an image upright, by its EXIF orientation (as in `ImageOps.exif_transpose`)."""


def _orientation(image: Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where it is missing or invalid, and for TIFF, which Pillow turns itself."""
    if image.format == "TIFF":
        return 1
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError):
        return 1  # damaged metadata; the image itself may be sound
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _drafted(image: Image, box: Box, size: tuple[int, int], resolution: int, turned: bool) -> Box:
    """Let Pillow decode a JPEG at 1/2, 1/4 or 1/8 of its size where that is enough; returns the box scaled to that size."""
    height, width = size
    fit_x, fit_y = resolution / (box[2] - box[0]), resolution / (box[3] - box[1])
    wanted = (math.ceil(width * fit_x), math.ceil(height * fit_y))
    image.draft(None, wanted[::-1] if turned else wanted)
    new_width, new_height = image.size[::-1] if turned else image.size
    scale_x, scale_y = new_width / width, new_height / height
    return box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y


def _without_transparency(image: Image, reading: Reading) -> Image:
    """The image in the mode of the wanted channels, with the background in place of transparent pixels."""
    mode = MODES[reading.channels]
    if not image.has_transparency_data:
        return image if image.mode == mode else image.convert(mode)
    layer = image.convert("RGBA")
    ground = require_pillow().new("RGBA", layer.size, (reading.background,) * 3 + (255,))
    ground.alpha_composite(layer)
    flat: Image = ground.convert(mode)
    return flat


def _deep(image: Image) -> str:
    """The mode of an image with more than 8 bits per channel, else an empty text; Pillow would silently cut it to 8 bits."""
    if image.mode in DEEP_MODES:
        return image.mode
    for tile in getattr(image, "tile", ()):
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        raw = next((arg for arg in args if isinstance(arg, str) and ";16" in arg), "")
        if raw:
            return raw
        if image.format == "PPM" and any(isinstance(arg, int) and arg > 255 for arg in args):
            return f"{image.mode} with values up to {max(arg for arg in args if isinstance(arg, int))}"
    return ""


def _known_formats(image_module: Any) -> list[str]:
    image_module.init()
    return [name for name in FORMATS if name in image_module.OPEN]


def _register_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()
