"""CIFAR-10 (Krizhevsky, 2009): read its binary archive into the arrays that a recipe needs, without torch or pickle."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ofa.data.sources.published_file import published_content

NAME = "cifar10"
ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
"""Digest of the archive (MD5 c32a1d4ab5d03f1284b67883e8d87530 on the authors' page)."""
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER = "cifar-10-batches-bin"
PARTS = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
SIDE = 32
RECORD_BYTES = 1 + 3 * SIDE * SIDE
"""A record is a label, then the red, the green and the blue plane, one byte a value."""


def read_archive(path: Path) -> Mapping[str, npt.NDArray[np.generic]]:
    """Arrays `x_train`, `y_train`, `x_test`, `y_test`, `classes` of the downloaded archive; images uint8[n, 32, 32, 3].

    Raises:
        UserError: the file is missing, or is not the published archive.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {"classes": np.array(CLASSES)}
    with tarfile.open(fileobj=io.BytesIO(published_content(path, SHA256, ADDRESS))) as archive:
        for part, names in PARTS.items():
            records = np.concatenate([_records(archive, f"{FOLDER}/{name}") for name in names])
            arrays[f"y_{part}"] = records[:, 0].astype(np.int64)
            planes = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
            arrays[f"x_{part}"] = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return arrays


def _records(archive: tarfile.TarFile, name: str) -> npt.NDArray[np.uint8]:
    file = archive.extractfile(name)
    assert file is not None, "the digest is that of an archive with this file"
    return np.frombuffer(file.read(), np.uint8).reshape(-1, RECORD_BYTES)
