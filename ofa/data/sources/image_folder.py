"""A folder of image files, `train/CLASS/*.jpg`: the files of each class, and the files that are left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ofa.data.sources.image_file import is_image, suffixes
from ofa.errors import UserError

FOLDER_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Names of the folders that hold each part, in upper or lower case."""
SHOWN = 8


@dataclass(frozen=True)
class Census:
    """Contents of a folder, for users to check before hours of training."""

    images: Mapping[str, Mapping[str, int]]
    """Number of images by part and class."""
    left_out: Mapping[str, int]
    """Number of files that are not read, by ending."""
    other_folders: Sequence[str] = ()
    """Folders that are not read, beside those of the parts."""

    def sentence(self) -> str:
        """One line, such as `train: 36 images of 3 classes (12, 12, 12); 8 files left out: 6 .gif, 2 .heic`."""
        parts = []
        for part, classes in self.images.items():
            counts = ", ".join(map(str, list(classes.values())[:SHOWN])) + (", ..." if len(classes) > SHOWN else "")
            parts.append(f"{part}: {sum(classes.values())} images of {len(classes)} classes ({counts})")
        if self.left_out:
            kinds = ", ".join(f"{count} {ending}" for ending, count in Counter(self.left_out).most_common(SHOWN))
            parts.append(f"{sum(self.left_out.values())} files left out: {kinds}")
        if self.other_folders:
            parts.append(f"folders not read: {', '.join(f'{name}/' for name in self.other_folders[:SHOWN])}")
        return "; ".join(parts)


@dataclass(frozen=True)
class ImageFolder:
    """The folder of each part, its paths by class (classes in label order), and the census."""

    folders: Mapping[str, Path]
    files: Mapping[str, Mapping[str, Sequence[str]]]
    census: Census


def list_image_folder(folder: Path) -> ImageFolder:
    """Find the images of each part and class; subfolders of a class belong to it.

    Raises:
        UserError: there is no training part, two folders for one part, a class without images, or an unknown class.
    """
    found, others = _parts(folder)
    if "train" not in found:
        inside = ", ".join(sorted(path.name for path in folder.iterdir())[:SHOWN]) or "nothing"
        raise UserError(f"{folder}: expected train/CLASS/*.jpg or x_train.npy and y_train.npy; it holds {inside}")
    left_out: Counter[str] = Counter()
    known = suffixes()
    listed = {part: _classes(found[part], known, left_out) for part in FOLDER_NAMES if part in found}
    for part, classes in listed.items():
        unknown = sorted(set(classes) - set(listed["train"]))
        if unknown:
            raise UserError(
                f"{folder}: class {unknown[0]!r} of {part} is not in train/, which has {', '.join(listed['train'])}"
            )
    counts = {part: {name: len(files) for name, files in classes.items()} for part, classes in listed.items()}
    return ImageFolder(found, listed, Census(counts, dict(left_out), others))


def list_photos(folder: Path) -> list[str]:
    """Paths of all images in a folder and below it, whatever its subfolders mean; raises `UserError` where there is none."""
    known = suffixes()
    files = list(_images(str(folder), known, Counter()))
    if not files:
        raise UserError(f"{folder}: no images in it or below it; known are {', '.join(sorted(known))}")
    return files


def _parts(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The folder of each part, and the names of the others."""
    found: dict[str, Path] = {}
    others = []
    part_of = {name: part for part, names in FOLDER_NAMES.items() for name in names}
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        part = part_of.get(path.name.lower())
        if part is None:
            others.append(path.name)
        elif part in found:
            raise UserError(f"{folder}: has both {found[part].name}/ and {path.name}/; keep one")
        else:
            found[part] = path
    return found, others


def _classes(folder: Path, known: frozenset[str], left_out: Counter[str]) -> dict[str, list[str]]:
    """Image files of each class folder, both sorted by name."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise UserError(f"{folder}: has no class folders; expected {folder.name}/CLASS/*.jpg")
    left_out.update(_ending(path.name) for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    classes = {}
    for name in names:
        files = list(_images(f"{folder}{os.sep}{name}", known, left_out))
        if not files:
            raise UserError(f"{folder / name}: no images; known are {', '.join(sorted(known))}")
        classes[name] = files
    return classes


def _images(folder: str, known: frozenset[str], left_out: Counter[str]) -> Iterator[str]:
    """Paths of the images in a class folder and below it; the header of a file without an ending tells whether it is one."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder that was visited
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(name for name in files if not name.startswith(".")):
            path, ending = f"{place}{os.sep}{file}", _ending(file)
            if ending in known or (ending == NO_ENDING and is_image(path)):
                yield path
            else:
                left_out[ending] += 1


NO_ENDING = "without an ending"


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower() or NO_ENDING
