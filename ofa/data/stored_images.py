"""Images that are kept with a run, so that what is done to its subnets needs no data set. No torch here.

The squares that evaluation sees are stored, uint8, no larger than the largest resolution of the space. Where too many are
wanted for a few megabytes, there are fewer; where too few would fit, they are stored as JPEG.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ofa.data.sources.image_file import MODES, require_pillow
from ofa.errors import UserError
from ofa.files.bundle import Place
from ofa.files.vouched import check_tensors, vouch_for_tensors

MOST_BYTES = 2**22
"""Size of the images of one part that are kept."""
ENOUGH = 256
"""Images from which on more of them change an accuracy by less than it can be measured (docs/bundles.md)."""
JPEG_QUALITY = 92
MOST_BYTES_DECODED = 2**30
MOST_SIDE = 8192
ADVICE = "copy the run again, or delete the file and run `ofa pack` where the data set is"


@dataclass(frozen=True, eq=False)
class StoredImages:
    """Square images of one part of a data set, in an order that mixes the classes in proportion; the arrays are writable."""

    pixels: npt.NDArray[np.uint8]
    """uint8[n, side, side, channels]"""
    labels: npt.NDArray[np.int64]

    @classmethod
    def read(cls, place: Place) -> StoredImages:
        """The images of a file that `stored` made; raises `UserError` where it is missing, damaged or no such file."""
        try:
            content = place.read_bytes()
            check_tensors(content, str(place), ADVICE)
            return _decoded(load(content))
        except OSError as error:
            raise UserError(f"{place}: cannot be read: {error.strerror or error}") from None
        except UserError:
            raise
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise UserError(f"{place}: not the images of a run ({str(error)[:80]}); {ADVICE}") from None

    def __len__(self) -> int:
        return len(self.labels)


def stored(images: StoredImages, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a file of images: all, or as many from the start as its size allows."""
    count, bytes_each = len(images), images.pixels[0].nbytes
    fitting = most_bytes // bytes_each
    shape = np.array(images.pixels.shape, dtype=np.int64)
    if fitting >= min(count, ENOUGH):
        shape[0] = min(count, fitting)
        tensors = {"pixels": np.ascontiguousarray(images.pixels[:fitting])}
    else:
        files = [_jpeg(pixels) for pixels in images.pixels]
        ends = np.cumsum([len(file) for file in files])
        shape[0] = max(1, int((ends <= most_bytes).sum()))
        joined = np.frombuffer(b"".join(files[: shape[0]]), np.uint8)
        tensors = {"jpeg": joined, "ends": ends[: shape[0]].astype(np.int64)}
    return vouch_for_tensors(save(tensors | {"shape": shape, "labels": images.labels[: shape[0]]}))


def _decoded(tensors: dict[str, npt.NDArray[np.generic]]) -> StoredImages:
    count, side, width, channels = tensors["shape"].tolist()
    labels = tensors["labels"]
    if not (0 < side == width <= MOST_SIDE and channels in MODES and 0 < count * side**2 * channels <= MOST_BYTES_DECODED):
        raise ValueError(f"shape {[count, side, width, channels]}")
    if labels.shape != (count,) or labels.dtype != np.int64 or labels.min() < 0:
        raise ValueError("labels")
    if "jpeg" in tensors:
        pixels = _decoded_jpeg(tensors["jpeg"], tensors["ends"].tolist(), (side, channels))
    else:
        pixels = np.array(tensors["pixels"])
    if pixels.shape != (count, side, side, channels) or pixels.dtype != np.uint8:
        raise ValueError(f"pixels of shape {list(pixels.shape)}")
    return StoredImages(pixels, np.array(labels))


def _jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    require_pillow().fromarray(flat).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _decoded_jpeg(joined: npt.NDArray[np.generic], ends: list[int], expected: tuple[int, int]) -> npt.NDArray[np.uint8]:
    side, channels = expected
    image_module = require_pillow()
    content, images = joined.tobytes(), []
    for start, end in zip([0, *ends], ends, strict=False):
        try:
            image = image_module.open(io.BytesIO(content[start:end]), formats=["JPEG"])
            if image.size != (side, side) or image.mode != MODES[channels]:  # before any pixel is decoded
                raise ValueError(f"an image of {image.size} {image.mode}")
            images.append(np.asarray(image, dtype=np.uint8).reshape(side, side, channels))
        except (OSError, SyntaxError, image_module.DecompressionBombError) as error:
            raise ValueError(f"JPEG: {error}") from None
    return np.stack(images)
