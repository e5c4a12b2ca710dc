"""Reading labelled images: Fashion-MNIST, numpy arrays, a folder of image files.

`read_source` returns the parts as stored (training, and validation or test where the source has them); splitting,
normalisation and augmentation belong to `ofa.data.batches`. No torch here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ofa.data.sources import cifar10, fashion_mnist
from ofa.data.sources.image_folder import Census, list_image_folder
from ofa.data.sources.numpy_file import load_npy, load_npz
from ofa.data.sources.path_list import PathList
from ofa.data.sources.wheel_datasets import WHEELS
from ofa.errors import UserError

# Accepted spellings of (images, labels) of each part, in the arrays of an .npz or the .npy files of a folder.
ARRAY_NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
NAMES = (cifar10.NAME, *WHEELS)
"""Data sets that `ofa data` installs in the data root as `NAME.npz`."""
HOW_TO_GET = {
    **{f"{name}{ending}": f"get it with: ofa data {name}" for name in NAMES for ending in ("", ".npz")},
    "imagenet": "ImageNet is given to who registers at https://image-net.org/download; the recipe wants it as a folder with "
    "train/CLASS/*.JPEG and val/CLASS/*.JPEG (give its place as data.source)",
}
"""Advice for a missing data source of the recipes that come with the package, by the last part of its name."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """Decoded images."""

    images: npt.NDArray[np.uint8]
    """uint8[n, height, width, channels]"""
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Files:
    """Image files, not decoded."""

    paths: PathList
    labels: npt.NDArray[np.int64]
    folder: str
    """Folder above all paths; the rest of a path is the file's name, which does not change when the data set is moved."""

    def names(self) -> Iterator[str]:
        """Path of each file below `folder`, with `/` between folders."""
        return (path[len(self.folder) + 1 :].replace(os.sep, "/") for path in self.paths)


@dataclass(frozen=True, eq=False)
class Source:
    """A data set as it is stored: the parts it has (always `train`) and the names of its classes, in label order."""

    parts: Mapping[str, Arrays | Files]
    classes: tuple[str, ...]
    place: Path = Path()
    """The folder or file that it was read from."""
    census: Census | None = None
    """Census of an image folder; None for other sources."""


def data_root() -> Path:
    """Folder of the data sets: the environment variable OFA_DATA, else `data` in the current directory."""
    return Path(os.environ.get("OFA_DATA") or "data")


def read_source(source: str, root: Path) -> Source:
    """Read a data set by the recipe's `source`.

    Args:
        source: `fashion-mnist`; a folder with `train/CLASS/*.jpg` and perhaps `val/` or `test/`; an `.npz`; a folder of
            `.npy`. A relative path is looked for in the current directory, then below `root`.
        root: the data root, into which `ofa data` puts data sets.

    Raises:
        UserError: there is no data, or it is empty, corrupt or inconsistent; names the file.
    """
    if source == fashion_mnist.NAME:
        arrays = fashion_mnist.read(root)
        parts = {part: _arrays(images, labels, f"{source} {part}") for part, (images, labels) in arrays.items()}
        return Source(parts, fashion_mnist.CLASSES, root / fashion_mnist.NAME)
    path = _locate(source, root)
    if path.is_dir():
        read = _read_npy_folder if list(path.glob("*.npy")) else _read_image_folder
        return replace(read(path), place=path)
    if path.suffix == ".npz":
        return replace(_read_named(load_npz(path), str(path)), place=path)
    raise UserError(
        f"{path}: not a data set; expected {fashion_mnist.NAME}, a folder train/CLASS/*.jpg, or an .npz of arrays"
    )


def find_source(source: str, root: Path) -> Path | None:
    """The place of a data set, by the arguments of `read_source`; None where there is none."""
    return next((candidate for candidate in _candidates(source, root) if candidate.exists()), None)


def _candidates(source: str, root: Path) -> list[Path]:
    if source == fashion_mnist.NAME:
        return [root / source]
    path = Path(source).expanduser()
    named = [root / f"{source}.npz"] if source in HOW_TO_GET else []
    return [path, *named] if path.is_absolute() else [path, root / path, *named]


def _locate(source: str, root: Path) -> Path:
    path, found = Path(source).expanduser(), find_source(source, root)
    if found is not None:
        return found
    candidates = [path] if path.is_absolute() else [path, root / path]
    places = " nor ".join(str(candidate) for candidate in candidates)
    advice = HOW_TO_GET.get(path.name, f"known by name are {', '.join((fashion_mnist.NAME, *NAMES))}")
    raise UserError(f"data source {source!r}: there is no {places}; {advice}")


def _read_npy_folder(folder: Path) -> Source:
    arrays = {}
    for path in sorted(folder.glob("*.npy")):
        arrays[path.stem] = load_npy(path)
    return _read_named(arrays, str(folder))


def _read_named(arrays: Mapping[str, npt.NDArray[Any]], place: str) -> Source:
    """Parts out of named arrays; labels are class names, or whole numbers, which an array `classes` may name."""
    found: dict[str, tuple[str, str]] = {}
    for part, spellings in ARRAY_NAMES.items():
        for images, labels in spellings:
            if images in arrays and labels not in arrays:
                raise UserError(f"{place}: has {images} but no {labels}")
            if images in arrays and part not in found:
                found[part] = (images, labels)
    if "train" not in found:
        expected = ", or ".join(" and ".join(names) for names in ARRAY_NAMES["train"])
        raise UserError(f"{place}: has the arrays {', '.join(arrays) or 'none'}; expected {expected}")
    given = tuple(str(name) for name in arrays["classes"]) if "classes" in arrays else None
    classes = _class_names(arrays[found["train"][1]], given, f"{place}: {found['train'][1]}")
    parts: dict[str, Arrays | Files] = {}
    for part, (images, labels) in found.items():
        numbers = _numbers(arrays[labels], classes, f"{place}: {labels}")
        parts[part] = _arrays(arrays[images], numbers, f"{place}: {images}")
    _check_every_class(parts["train"].labels, classes, place)
    return Source(parts, classes)


def _class_names(labels: npt.NDArray[Any], given: tuple[str, ...] | None, place: str) -> tuple[str, ...]:
    if given is not None:
        return given
    if labels.size == 0:
        raise UserError(f"{place}: is empty")
    if labels.dtype.kind == "U":
        return tuple(str(name) for name in np.unique(labels))
    if labels.dtype.kind not in "iu":
        raise UserError(f"{place}: are {labels.dtype}; expected whole numbers from 0, or class names")
    return tuple(str(number) for number in range(int(labels.max()) + 1))


def _numbers(labels: npt.NDArray[Any], classes: tuple[str, ...], place: str) -> npt.NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # as Keras stores the labels of CIFAR
    if labels.ndim != 1:
        raise UserError(f"{place}: has shape {list(labels.shape)}; expected one label per image")
    if labels.dtype.kind == "U":
        numbers = {name: number for number, name in enumerate(classes)}
        unknown = sorted(set(labels.tolist()) - set(numbers))
        if unknown:
            raise UserError(f"{place}: class {unknown[0]!r} is not among those of training: {', '.join(classes)}")
        return np.array([numbers[name] for name in labels.tolist()], dtype=np.int64)
    if labels.dtype.kind not in "iu":
        raise UserError(f"{place}: are {labels.dtype}; expected whole numbers from 0, or class names")
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
        raise UserError(f"{place}: range from {labels.min()} to {labels.max()}; allowed are 0 to {len(classes) - 1}")
    return labels.astype(np.int64)


def _arrays(images: npt.NDArray[Any], labels: npt.NDArray[np.int64], place: str) -> Arrays:
    """Checked arrays with the channels last; the axis of length 1 or 3 is taken as the channels."""
    if images.dtype != np.uint8:
        raise UserError(f"{place}: is {images.dtype}; expected uint8 in 0..255")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        raise UserError(
            f"{place}: has shape {list(images.shape)}; expected [n, height, width] or [n, height, width, channels]"
        )
    first, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if first == last:
        raise UserError(
            f"{place}: has shape {list(images.shape)}; expected 1 or 3 channels, last or after the number of images"
        )
    if first:
        images = images.transpose(0, 2, 3, 1)
    if len(images) != len(labels):
        raise UserError(f"{place}: has {len(images)} images but {len(labels)} labels")
    if images.size == 0:
        raise UserError(f"{place}: is empty")
    return Arrays(np.ascontiguousarray(images), labels)


def _read_image_folder(folder: Path) -> Source:
    listed = list_image_folder(folder)
    classes = tuple(listed.files["train"])
    parts: dict[str, Arrays | Files] = {}
    for part, files in listed.files.items():
        numbers = [np.full(len(files[name]), classes.index(name), dtype=np.int64) for name in files]
        paths = PathList.of(path for name in files for path in files[name])
        parts[part] = Files(paths, np.concatenate(numbers), str(listed.folders[part]))
    return Source(parts, classes, census=listed.census)


def _check_every_class(labels: npt.NDArray[np.int64], classes: tuple[str, ...], place: str) -> None:
    empty = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)
    if len(empty):
        raise UserError(
            f"{place}: class {classes[empty[0]]!r} has no training image; remove it or number the labels from 0 on"
        )
