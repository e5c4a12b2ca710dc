"""Batches: order, resumption, splits, normalisation, of arrays in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ofa.data.augment.augmentation import AugmentConfig
from ofa.data.batches import Batch, Data, load_data
from ofa.data.config import DataConfig, NormaliseConfig
from ofa.data.held_out import mixed_order
from ofa.errors import UserError
from ofa.files import schema

VARIED = AugmentConfig(horizontal_flip=True, vertical_flip=True, crop_padding=2, brightness=0.2, erase_probability=0.5)
CROPPED = AugmentConfig(horizontal_flip=True, random_resized_crop=(0.3, 1.0))


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """A grey set of 3 classes, 210 + 30 images of 12 px; pixel [0, 0] and the first column tell the image's number."""
    rng = np.random.default_rng(0)
    path = tmp_path / "set.npz"
    x_train = rng.integers(0, 256, (210, 12, 12), dtype=np.uint8)
    x_train[:, 5, 5] = np.arange(210)
    y_train = np.sort(rng.integers(0, 3, 210))
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_train[:30] // 2, y_test=y_train[:30])
    return path


def load(path: Path, **values: Any) -> Data:
    return load_data(DataConfig(source=str(path), **values))


def collect(data: Data, split: str = "train", **values: Any) -> list[Batch]:
    settings: dict[str, Any] = {"batch_size": 32, "resolution": 12, "shuffle": True, "augment": True, "seed": 1, "epoch": 2}
    return list(data.batches(split, **(settings | values)))


def identities(batches: list[Batch], data: Data) -> list[int]:
    """The number written into pixel [5, 5] of each image."""
    pixels = torch.cat([images[:, 0, 5, 5] for images, _ in batches])
    return (pixels * data.std[0] * 255 + data.mean[0] * 255).round().int().tolist()


def equal(left: list[Batch], right: list[Batch]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(left, right, strict=True)
    )


def test_shapes_types_and_sizes(arrays: Path) -> None:
    data = load(arrays, validation=40)
    assert data.sizes == {"train": 170, "validation": 40, "test": 30}
    assert (data.channels, data.classes, data.image_size) == (1, ("0", "1", "2"), 12)
    batches = collect(data, resolution=8)
    assert [len(labels) for _, labels in batches] == [32, 32, 32, 32, 32, 10]
    images, labels = batches[0]
    assert images.shape == (32, 1, 8, 8)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert len(collect(data, drop_last=True)) == 5 == data.steps("train", 32, drop_last=True)
    assert data.steps("train", 32) == 6
    assert sum(len(labels) for _, labels in collect(data, limit=70)) == 70
    assert data.steps("train", 32, limit=70) == 3


def test_a_limit_is_a_fair_sample_in_order_and_a_random_one_when_shuffled(arrays: Path) -> None:
    data = load(arrays)
    shares = np.bincount(data.labels("train")) / data.sizes["train"]
    fair = torch.cat([labels for _, labels in collect(data, limit=70, shuffle=False)])
    assert np.abs(np.bincount(fair) - 70 * shares).max() <= 1
    epochs = [collect(data, limit=70, epoch=epoch, augment=False) for epoch in range(20)]
    assert len({frozenset(identities(batches, data)) for batches in epochs}) == 20
    counts = np.array([np.bincount(torch.cat([labels for _, labels in batches]), minlength=3) for batches in epochs])
    assert np.abs(counts - 70 * shares).max() > 1


@pytest.mark.parametrize("varied", [VARIED, CROPPED], ids=["shift", "crop"])
def test_a_resumed_epoch_continues_bit_by_bit(arrays: Path, varied: AugmentConfig) -> None:
    def resolution(index: int) -> int:
        return (8, 10, 12)[index % 3]

    whole = collect(load(arrays, augment=varied), resolution=resolution)
    assert [images.shape[3] for images, _ in whole[:4]] == [8, 10, 12, 8]
    for start in range(len(whole) + 1):
        assert equal(collect(load(arrays, augment=varied), resolution=resolution, start=start), whole[start:])


def test_resolution_per_batch_may_be_a_sequence(arrays: Path) -> None:
    batches = collect(load(arrays), resolution=[6, 7, 8, 9, 10, 11], start=4)
    assert [images.shape[2] for images, _ in batches] == [10, 11]


def test_seed_and_epoch_decide_order_and_augmentation(arrays: Path) -> None:
    data = load(arrays, augment=VARIED)
    assert equal(collect(data), collect(data))
    assert not equal(collect(data), collect(data, epoch=3))
    assert not equal(collect(data), collect(data, seed=3))
    assert not equal(collect(data, shuffle=False), collect(data, shuffle=False, epoch=3))  # same order, other augmentation
    first, second = collect(data, augment=False), collect(data, augment=False, epoch=3)
    assert identities(first, data) != identities(second, data)
    assert sorted(identities(first, data)) == sorted(identities(second, data))


def test_no_global_generator_is_touched(arrays: Path) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    collect(load(arrays, augment=CROPPED))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.random.get_state()[1].tolist() == numpy_state  # type: ignore[index, union-attr]


def test_batches_of_a_pass_do_not_share_their_augmentation(arrays: Path) -> None:
    path = arrays.with_name("same.npz")
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (1, 12, 12), dtype=np.uint8).repeat(64, axis=0)
    np.savez(path, images=image, labels=np.arange(64) % 2)
    data = load(path, validation=2, augment=AugmentConfig(crop_padding=3))
    batches = collect(data, batch_size=31)
    assert not torch.equal(batches[0][0], batches[1][0])


def test_validation_is_disjoint_stratified_and_fixed(arrays: Path) -> None:
    data = load(arrays, validation=0.2)
    quiet: dict[str, Any] = {"augment": False, "shuffle": False}
    held = identities(collect(data, "validation", **quiet), data)
    kept = identities(collect(data, "train", **quiet), data)
    assert len(held) == 42
    assert sorted(held + kept) == list(range(210))
    again = load(arrays, validation=0.2, augment=VARIED)
    assert identities(collect(again, "validation", **quiet), again) == held
    other = load(arrays, validation=0.2, split_seed=1)
    assert set(identities(collect(other, "validation", **quiet), other)) != set(held)
    everything = np.bincount(np.concatenate([data.labels("train"), data.labels("validation")]))
    assert np.abs(np.bincount(data.labels("validation")) - 0.2 * everything).max() <= 1


def test_every_beginning_of_the_fixed_order_is_a_fair_sample() -> None:
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    order = mixed_order(labels, seed=3)
    assert sorted(order.tolist()) == list(range(1000))
    for count in (10, 57, 200, 999):
        found = np.bincount(labels[order[:count]], minlength=3)
        assert np.abs(found - count * np.array([0.5, 0.3, 0.2])).max() <= 1.01


def test_images_are_normalised_by_the_training_part(arrays: Path) -> None:
    data = load(arrays)
    images = torch.cat([images for images, _ in collect(data, augment=False)])
    assert float(images.mean()) == pytest.approx(0, abs=1e-5)
    assert float(images.std(correction=0)) == pytest.approx(1, abs=1e-5)
    fixed = load(arrays, normalise=NormaliseConfig(mean=(0.5,), std=(0.25,)))
    assert (fixed.mean, fixed.std) == ((0.5,), (0.25,))
    again = torch.cat([images for images, _ in collect(fixed, augment=False)])
    assert torch.allclose(again, (images * data.std[0] + data.mean[0] - 0.5) / 0.25, atol=1e-5)


def test_evaluation_crop_keeps_the_centre(arrays: Path) -> None:
    data, cropped = load(arrays), load(arrays, evaluation_crop=0.5)
    whole = collect(data, "test", augment=False, shuffle=False)[0][0]
    assert torch.equal(collect(cropped, "test", augment=False, shuffle=False, resolution=6)[0][0], whole[:, :, 3:9, 3:9])


def test_channels_are_converted(arrays: Path) -> None:
    grey = load_data(DataConfig(source=str(arrays)), channels=3)
    assert (grey.channels, len(grey.mean)) == (3, 3)
    images = collect(grey)[0][0]
    assert torch.equal(images[:, 0], images[:, 2])
    path = arrays.with_name("colour.npz")
    colour = np.zeros((20, 4, 4, 3), dtype=np.uint8)
    colour[:, :2] = (200, 100, 50)
    np.savez(path, images=colour, labels=np.arange(20) % 2)
    luma = load_data(DataConfig(source=str(path), normalise=NormaliseConfig(mean=(0.0,), std=(1.0,))), channels=1)
    value = float(collect(luma, resolution=4, augment=False)[0][0][0, 0, 0, 0] * 255)
    assert value == pytest.approx(124, abs=1e-3)  # 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
    with pytest.raises(UserError, match="channels is 2; images have 1"):
        load_data(DataConfig(source=str(path)), channels=2)


def test_what_does_not_exist_or_fit_is_named(arrays: Path) -> None:
    data = load(arrays)
    with pytest.raises(UserError, match="has no split 'val'; it has train, validation, test"):
        next(data.batches("val", batch_size=1, resolution=8, shuffle=False, augment=False))
    with pytest.raises(ValueError, match="batch_size 0 must be at least 1"):
        next(data.batches("train", batch_size=0, resolution=8, shuffle=False, augment=False))
    with pytest.raises(UserError, match="validation takes 210 of 210 training images"):
        load(arrays, validation=210)
    with pytest.raises(UserError, match="normalise has 3 means, images have 1 channels"):
        load(arrays, normalise=NormaliseConfig(mean=(0.1,) * 3, std=(0.1,) * 3))
    path = arrays.with_name("blank.npz")
    np.savez(path, images=np.zeros((9, 4, 4), dtype=np.uint8), labels=np.arange(9) % 3)
    with pytest.raises(UserError, match="channel 0 of the training images is constant"):
        load(path, validation=3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "key 'source' is missing"),
        ({"source": "x", "validation": 1.5}, "validation is 1.5; must be a whole number at least 1 or a number above 0 and"),
        ({"source": "x", "validation": 1.0}, "validation is 1.0; must be a whole number at least 1 or a number"),
        ({"source": "x", "validation": 0}, "validation is 0; must be a whole number at least 1 or"),
        ({"source": "x", "evaluation_crop": 0}, "evaluation_crop is 0.0"),
        ({"source": "x", "workers": -1}, "workers is -1"),
        ({"source": "x", "normalise": {"mean": [0.1], "std": [0.0]}}, "std has 0.0; must be above 0"),
        ({"source": "x", "normalise": {"mean": [0.1], "std": [0.1, 0.1]}}, "mean has 1 values and std 2"),
    ],
)
def test_mistakes_in_the_recipe_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        schema.build(DataConfig, values, "recipe.yaml: data")


def test_the_recipes_section_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("source: photos\nvalidation: 0.25\naugment: {horizontal_flip: true, random_resized_crop: [8e-2, 1]}\n")
    config = schema.build(DataConfig, schema.load_yaml(path), str(path))
    assert config == DataConfig(
        source="photos", validation=0.25, augment=AugmentConfig(horizontal_flip=True, random_resized_crop=(0.08, 1.0))
    )


@pytest.mark.gpu
def test_a_gpu_sees_the_same_batches(arrays: Path) -> None:
    for varied in (VARIED, CROPPED):
        data = load(arrays, augment=varied)
        for (images, labels), (theirs, their_labels) in zip(collect(data), collect(data, device="cuda"), strict=True):
            assert theirs.is_cuda
            assert torch.allclose(images, theirs.cpu(), atol=1e-2)
            assert torch.equal(labels, their_labels.cpu())


def test_images_are_turned_upside_down_by_half(arrays: Path) -> None:
    data = load(arrays, augment=AugmentConfig(vertical_flip=True))
    plain, turned = (torch.cat([images for images, _ in collect(data, augment=augment)]) for augment in (False, True))
    same = (turned == plain).flatten(1).all(1)
    upside_down = (turned == plain.flip(2)).flatten(1).all(1)
    assert (same ^ upside_down).all()
    assert 0.35 < upside_down.double().mean() < 0.65
