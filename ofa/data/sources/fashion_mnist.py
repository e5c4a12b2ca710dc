"""Fashion-MNIST (Xiao et al., arXiv:1708.07747; MIT licence): its four files, their digests, reading them. No torch here."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError

NAME = "fashion-mnist"
LICENCE = "MIT (Zalando SE, 2017)"
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
# SHA-256 of the uncompressed content, because Debian's package compresses the same content anew.
FILES = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
UNSIGNED_BYTE = 8
LARGEST_BYTES = 16 + 60_000 * 28 * 28
"""Size of the largest of the four files, uncompressed."""


def read(root: Path) -> dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """Images uint8[n, 28, 28] and labels int64[n] of `train` and `test`, from `root/fashion-mnist/*.gz`.

    Raises:
        UserError: a file is missing (the message says how to get it), or its content is not the published one.
    """
    folder = root / NAME
    parts = {}
    for part, prefix in {"train": "train", "test": "t10k"}.items():
        images = parse_idx(checked_content(folder / f"{prefix}-images-idx3-ubyte.gz"), 3, f"{folder}: images of {part}")
        labels = parse_idx(checked_content(folder / f"{prefix}-labels-idx1-ubyte.gz"), 1, f"{folder}: labels of {part}")
        parts[part] = (images, labels.astype(np.int64))
    return parts


def checked_content(path: Path) -> bytes:
    """The uncompressed content of one of the four files, equal to the published one by digest.

    Raises:
        UserError: the file is missing, corrupt, or not the published one.
    """
    try:
        with gzip.open(path, "rb") as file:
            content = file.read(LARGEST_BYTES + 1)  # a small file may stand for a very large one
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run: ofa data {NAME}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: corrupt: {error}; run: ofa data {NAME}") from None
    if len(content) > LARGEST_BYTES:
        raise UserError(f"{path}: unpacks to more than {LARGEST_BYTES} bytes; run: ofa data {NAME}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != FILES[path.name]:
        raise UserError(f"{path}: SHA-256 of its content is {digest}, expected {FILES[path.name]}; run: ofa data {NAME}")
    return content


def parse_idx(content: bytes, dimensions: int, place: str) -> npt.NDArray[np.uint8]:
    """An array from the IDX format: two zero bytes, the type, the number of dimensions, big-endian sizes, the values.

    Raises:
        UserError: type or number of dimensions are not the expected ones, or the length does not fit the sizes.
    """
    expected = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if content[:4] != expected:
        raise UserError(f"{place}: IDX header is {content[:4].hex()}; expected {expected.hex()}")
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise UserError(f"{place}: IDX file ends within its header")
    sizes = np.frombuffer(content, ">u4", dimensions, offset=4).astype(np.int64)
    if len(content) - start != sizes.prod():
        raise UserError(
            f"{place}: IDX sizes {sizes.tolist()} need {sizes.prod()} bytes, the file has {len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)
