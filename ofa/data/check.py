"""Checking a folder of images before hours of training: which files are read, left out, or damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ofa.data.decoding import Job, damaged_files
from ofa.data.sources.image_file import Reading
from ofa.data.sources.image_folder import Census, list_image_folder

CHECKED_AT_ONCE = 64


def check_folder(folder: Path, workers: int) -> tuple[Census, list[str]]:
    """The census of an image folder, and a line for each file that cannot be decoded; raises `UserError` as training would.

    Args:
        folder: a folder with `train/CLASS/*.jpg`.
        workers: number of processes that decode; 0: this process decodes.
    """
    listed = list_image_folder(folder)
    paths = [path for classes in listed.files.values() for files in classes.values() for path in files]
    return listed.census, damaged_files(_jobs(paths), Reading(channels=3), workers)


def _jobs(paths: Sequence[str]) -> list[Job]:
    return [Job(paths[start : start + CHECKED_AT_ONCE], resolution=8) for start in range(0, len(paths), CHECKED_AT_ONCE)]
