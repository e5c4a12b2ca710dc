"""A known folder of images of one size: only those that are used are decoded, and they are the same as all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ofa.data import splits
from ofa.data.augment.augmentation import AugmentConfig
from ofa.data.batches import Data, load_data
from ofa.data.config import DataConfig
from ofa.data.decoding import Job, decode
from ofa.errors import UserError
from tests.ofa.data.test_datasets import batches, make_folder

CONFIG = DataConfig(source="", validation=10, workers=0, augment=AugmentConfig(horizontal_flip=True, crop_padding=1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "photos", {"train": 20, "test": 5}, sizes=((12, 10),))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of images that were decoded, one for each job."""
    counts: list[int] = []

    def watched(jobs: Sequence[Job], *args: Any, **options: Any) -> Iterator[torch.Tensor]:
        counts.extend(len(job.paths) for job in jobs)
        return decode(jobs, *args, **options)

    monkeypatch.setattr(splits, "decode", watched)
    return counts


def config(folder: Path) -> DataConfig:
    return replace(CONFIG, source=str(folder))


def same(left: Data, right: Data, **options: Any) -> bool:
    plain = {"shuffle": False, "augment": False} | options
    pairs = zip(batches(left, **plain), batches(right, **plain), strict=True)
    return all(torch.equal(a, b) and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_images_are_decoded_once_and_when_they_are_used(folder: Path, decoded: list[int]) -> None:
    first = load_data(config(folder))
    assert first.record.size == (10, 12)
    decoded.clear()
    later = load_data(config(folder), known=first.record)
    assert decoded == []
    assert later.record == first.record
    assert same(later, first, limit=7)
    assert decoded == [7]
    assert same(later, first, limit=9)
    assert decoded == [7, 2]
    assert same(later, first, shuffle=True, augment=True, epoch=3)
    assert same(later, first, split="validation")
    assert decoded == [7, 2, later.sizes["train"] - 9, 10]
    assert same(later, first, shuffle=True, augment=True)
    assert len(decoded) == 4


def test_a_record_of_files_that_differ_in_size_decodes_them_as_before(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "photos", {"train": 20}, sizes=((12, 10), (12, 11)))
    first = load_data(replace(config(folder), augment=AugmentConfig()))
    assert first.record.size is None
    later = load_data(replace(config(folder), augment=AugmentConfig()), known=first.record)
    assert same(later, first)


def test_a_file_of_another_size_than_known_is_named(folder: Path) -> None:
    known = load_data(config(folder)).record
    later = load_data(config(folder), known=replace(known, size=(12, 10)))
    with pytest.raises(UserError, match=r"photos/train/.*: not of the size that it had"):
        batches(later)
