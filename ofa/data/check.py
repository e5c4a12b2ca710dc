"""Checking a folder of images before hours of training: which files are read, left out, or damaged."""

from __future__ import annotations

from pathlib import Path

from ofa.data.decoding import Job, damaged_files
from ofa.data.sources.image_file import Reading
from ofa.data.sources.image_folder import Census, list_image_folder

CHECKED_AT_ONCE = 64


def check_folder(folder: Path, workers: int) -> tuple[Census, list[str]]:
    """The census of a folder with `train/CLASS/*.jpg`, and a line for each file that cannot be decoded.

    Raises `UserError` as training would. `workers` processes decode; 0: this one.
    """
    listed = list_image_folder(folder)
    paths = [path for classes in listed.files.values() for files in classes.values() for path in files]
    jobs = [Job(paths[start : start + CHECKED_AT_ONCE], resolution=8) for start in range(0, len(paths), CHECKED_AT_ONCE)]
    return listed.census, damaged_files(jobs, Reading(channels=3), workers)
