"""Sources: Fashion-MNIST's files, arrays, image folders, and what is wrong with them."""

from __future__ import annotations

import gzip
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ofa.data.augment.augmentation import AugmentConfig
from ofa.data.batches import Batch, Data, load_data
from ofa.data.config import DataConfig
from ofa.data.sources import fashion_mnist
from ofa.data.sources.fashion_mnist import parse_idx
from ofa.errors import UserError


def batches(data: Data, split: str = "train", **values: Any) -> list[Batch]:
    settings: dict[str, Any] = {"batch_size": 8, "resolution": 16, "shuffle": True, "augment": True}
    return list(data.batches(split, **(settings | values)))


def make_folder(
    root: Path, parts: dict[str, int], sizes: tuple[tuple[int, int], ...] = ((20, 20),), mode: str = "RGB"
) -> Path:
    """`parts`: images per class; classes `cat` (dark) and `dog` (bright), smooth so that JPEG keeps them."""
    rng = np.random.default_rng(0)
    for part, count in parts.items():
        for label, name in enumerate(("cat", "dog")):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                width, height = sizes[i % len(sizes)]
                base = rng.integers(0, 90, (2, 2, 3), dtype=np.uint8) + 120 * label
                image = Image.fromarray(base.astype(np.uint8)).resize((width, height)).convert(mode)
                image.save(root / part / name / f"{i:03}.{'jpg' if i % 2 else 'png'}", quality=95)
    return root


# --- Fashion-MNIST ---------------------------------------------------------------------------------------------------


def test_fashion_mnist_missing_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz: no such file; run: ofa data fashion-mnist"):
        load_data(DataConfig(source="fashion-mnist"), tmp_path)


def test_fashion_mnist_of_another_content_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(UserError, match=r"SHA-256 of its content is [0-9a-f]{64}, expected c59f468a"):
        load_data(DataConfig(source="fashion-mnist"), tmp_path)
    path.write_bytes(gzip.compress(b"x" * 9999)[:40])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz: corrupt: "):
        load_data(DataConfig(source="fashion-mnist"), tmp_path)


def test_fashion_mnist_loads(tmp_path: Path) -> None:
    installed = Path("/usr/share/datasets/fashion-mnist")
    if not installed.is_dir():
        pytest.skip(f"{installed} is absent (Debian's package dataset-fashion-mnist)")
    (tmp_path / "fashion-mnist").symlink_to(installed)
    data = load_data(DataConfig(source="fashion-mnist", validation=10000), tmp_path)
    assert data.sizes == {"train": 50000, "validation": 10000, "test": 10000}
    assert data.classes == fashion_mnist.CLASSES
    assert np.bincount(data.labels("validation")).tolist() == [1000] * 10
    assert data.mean[0] == pytest.approx(0.2860, abs=1e-3)
    assert data.std[0] == pytest.approx(0.3530, abs=1e-3)


def test_idx_headers_are_checked() -> None:
    good = bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])
    assert parse_idx(good, 1, "x").tolist() == [7, 8, 9]
    with pytest.raises(UserError, match="x: IDX header is 00000801; expected 00000803"):
        parse_idx(good, 3, "x")
    with pytest.raises(UserError, match=r"IDX sizes \[3\] need 3 bytes, the file has 2"):
        parse_idx(good[:-1], 1, "x")
    with pytest.raises(UserError, match="ends within its header"):
        parse_idx(good[:6], 1, "x")


# --- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["grey", "last", "first"])
def test_array_layouts(tmp_path: Path, layout: str) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 8, 10, 1 if layout == "grey" else 3), dtype=np.uint8)
    stored = {"grey": pixels[..., 0], "last": pixels, "first": pixels.transpose(0, 3, 1, 2)}[layout]
    np.save(tmp_path / "x_train.npy", stored)
    np.save(tmp_path / "y_train.npy", np.arange(40)[:, None] % 4)
    data = load_data(DataConfig(source=str(tmp_path), validation=10))
    assert (data.channels, data.image_size, data.sizes) == (pixels.shape[3], 8, {"train": 30, "validation": 10})
    means = pixels[:, :, 1:9].mean(axis=(1, 2)) / 255  # the central square
    images, labels = batches(data, resolution=8, augment=False, batch_size=30)[0]
    ours = images.mean(dim=(2, 3)) * torch.tensor(data.std) + torch.tensor(data.mean)
    for mean, label in zip(ours.tolist(), labels.tolist(), strict=True):
        found = np.abs(means - mean).max(axis=1)
        assert found.min() < 1e-5
        assert found.argmin() % 4 == label


def test_labels_may_be_names_and_numbers_may_have_names(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.array(["owl", "cat"] * 6))
    data = load_data(DataConfig(source=str(tmp_path / "a.npz"), validation=2))
    assert data.classes == ("cat", "owl")
    np.savez(tmp_path / "b.npz", images=images, labels=np.arange(12) % 2, classes=np.array(["no", "yes"]))
    assert load_data(DataConfig(source=str(tmp_path / "b.npz"), validation=2)).classes == ("no", "yes")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": [0]}, "has the arrays pictures; expected x_train and y_train"),
        ({"images": np.zeros((4, 5, 5), np.uint8)}, "has images but no labels"),
        ({"images": np.zeros((4, 5, 5)), "labels": [0, 1, 0, 1]}, "images: is float64; expected uint8"),
        ({"images": np.zeros((4, 25), np.uint8), "labels": [0, 1, 0, 1]}, r"images: has shape \[4, 25\]; expected"),
        ({"images": np.zeros((4, 5, 5, 2), np.uint8), "labels": [0, 1, 0, 1]}, "expected 1 or 3 channels"),
        ({"images": np.zeros((4, 5, 5), np.uint8), "labels": [0, 1, 0]}, "has 4 images but 3 labels"),
        ({"images": np.zeros((4, 5, 5), np.uint8), "labels": [0, 2, 0, 2]}, "class '1' has no training image"),
        ({"images": np.zeros((4, 5, 5), np.uint8), "labels": [0, -1, 0, 1]}, "range from -1 to 1; allowed are 0 to 1"),
        ({"images": np.zeros((4, 5, 5), np.uint8), "labels": [0.0, 1, 0, 1]}, "labels: are float64; expected whole"),
        ({"images": np.zeros((0, 5, 5), np.uint8), "labels": np.zeros(0, int)}, "labels: is empty"),
        (
            {
                "x_train": np.zeros((2, 5, 5), np.uint8),
                "y_train": [0, 1],
                "x_test": np.zeros((1, 5, 5), np.uint8),
                "y_test": [7],
            },
            "y_test: range from 7 to 7; allowed are 0 to 1",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "set.npz", **{name: np.asarray(value) for name, value in arrays.items()})
    with pytest.raises(UserError, match=message) as caught:
        load_data(DataConfig(source=str(tmp_path / "set.npz")))
    assert "set.npz" in str(caught.value)


def test_pickled_arrays_and_junk_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=np.array([{"a": 1}], dtype=object), labels=[0])
    with pytest.raises(UserError, match=r"set.npz: images.npy: holds Python objects; only numbers and text are read"):
        load_data(DataConfig(source=str(tmp_path / "set.npz")))
    (tmp_path / "junk.npz").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"junk.npz: cannot be read as arrays"):
        load_data(DataConfig(source=str(tmp_path / "junk.npz")))
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x_train.npy").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"x_train.npy: cannot be read as an array"):
        load_data(DataConfig(source=str(tmp_path / "f")))


def test_a_source_that_is_nowhere_names_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFA_DATA", str(tmp_path / "sets"))
    known = "known by name are fashion-mnist, cifar10, elpv, forda"
    with pytest.raises(UserError, match=rf"'photos': there is no photos nor .*sets/photos; {known}"):
        load_data(DataConfig(source="photos"))
    make_folder(tmp_path / "sets" / "photos", {"train": 5})
    assert load_data(DataConfig(source="photos", validation=2, workers=0)).sizes["train"] == 8


# --- image folders ---------------------------------------------------------------------------------------------------


def test_a_small_folder_of_one_size_lives_in_memory(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 12, "test": 3})
    data = load_data(DataConfig(source=str(tmp_path), validation=4, workers=0, augment=AugmentConfig(crop_padding=2)))
    assert (data.image_size, data.channels, data.classes) == (20, 3, ("cat", "dog"))
    assert data.sizes == {"train": 20, "validation": 4, "test": 6}
    for images, labels in batches(data, "test", augment=False):
        assert ((images.mean(dim=(1, 2, 3)) > 0) == (labels == 1)).all()  # dogs are bright


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, where there is one core
def test_decoding_does_not_depend_on_the_number_of_workers_and_resumes(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 16}, sizes=((40, 30), (24, 33)))
    augment = AugmentConfig(horizontal_flip=True, random_resized_crop=(0.3, 1.0), brightness=0.2)

    def run(workers: int, **values: Any) -> list[Batch]:
        data = load_data(DataConfig(source=str(tmp_path), validation=4, workers=workers, augment=augment))
        assert data.image_size is None
        return batches(data, **({"resolution": [12, 16, 20, 8], "seed": 5, "epoch": 1} | values))

    here, there, rest = run(0), run(2), run(2, start=2)
    assert [images.shape[2] for images, _ in here] == [12, 16, 20, 8]
    for (images, labels), (theirs, their_labels) in zip(here, there, strict=True):
        assert torch.equal(images, theirs)
        assert torch.equal(labels, their_labels)
    for (images, _), (theirs, _) in zip(here[2:], rest, strict=True):
        assert torch.equal(images, theirs)
    fixed: dict[str, Any] = {"shuffle": False, "resolution": 16, "seed": 5}
    first, again, later = (run(0, **fixed, epoch=epoch)[0][0] for epoch in (1, 1, 2))
    assert torch.equal(first, again)
    assert not any(torch.equal(one, other) for one, other in zip(first, later, strict=True))  # every crop is another


def test_a_folder_read_from_files_equals_the_same_in_memory(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 10})
    loaded = [
        load_data(DataConfig(source=str(tmp_path), validation=4, workers=0, memory_limit_mb=limit)) for limit in (1.0, 1e-6)
    ]
    assert [data.image_size for data in loaded] == [20, None]
    memory, files = (
        (images * torch.tensor(data.std).view(3, 1, 1) + torch.tensor(data.mean).view(3, 1, 1)) * 255
        for data in loaded
        for images, _ in batches(data, augment=False, batch_size=16, resolution=14)
    )
    assert float((memory - files).abs().max()) < 1.5  # Pillow rounds to whole numbers


def test_rare_sizes_fall_back_to_decoding_from_files(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 70})
    Image.new("RGB", (31, 22)).save(tmp_path / "train" / "cat" / "extra.png")
    data = load_data(DataConfig(source=str(tmp_path), validation=4, workers=0))
    assert data.sizes["train"] == 137
    assert [len(labels) for _, labels in batches(data, batch_size=100, resolution=8)] == [100, 37]


def test_grey_files_and_grey_spaces(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 5}, mode="L")
    data = load_data(DataConfig(source=str(tmp_path), validation=2, workers=0), channels=1)
    assert data.channels == 1
    assert batches(data, resolution=20)[0][0].shape == (8, 1, 20, 20)


def test_validation_and_test_folders_take_their_roles(tmp_path: Path) -> None:
    own = make_folder(tmp_path / "own", {"train": 6, "val": 2})
    assert load_data(DataConfig(source=str(own), workers=0)).sizes == {"train": 12, "validation": 4}
    assert load_data(DataConfig(source=str(own), workers=0, validation=2)).sizes == {"train": 10, "validation": 2, "test": 4}
    both = make_folder(tmp_path / "both", {"train": 6, "val": 2, "test": 1})
    assert load_data(DataConfig(source=str(both), workers=0)).sizes == {"train": 12, "validation": 4, "test": 2}
    with pytest.raises(UserError, match="leave validation out to use its own"):
        load_data(DataConfig(source=str(both), workers=0, validation=2))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_is_named(tmp_path: Path, workers: int) -> None:
    make_folder(tmp_path, {"train": 6})
    path = tmp_path / "train" / "dog" / "003.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=95)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UserError, match=r"dog/003.jpg: corrupt image: image file is truncated") as caught:
        load_data(DataConfig(source=str(tmp_path), validation=2, workers=workers))
    assert "\n" not in str(caught.value)
    path.write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"dog/003.jpg: not a readable image"):
        load_data(DataConfig(source=str(tmp_path), validation=2, workers=workers))


def test_folders_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected train/CLASS/\*.jpg or x_train.npy and y_train.npy; it holds nothing"):
        load_data(DataConfig(source=str(tmp_path)))
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="train: has no class folders; expected train/CLASS"):
        load_data(DataConfig(source=str(tmp_path)))
    (tmp_path / "train" / "cat").mkdir()
    (tmp_path / "train" / "cat" / "notes.txt").touch()
    with pytest.raises(UserError, match="train/cat: no images; known are"):
        load_data(DataConfig(source=str(tmp_path)))
    whole = make_folder(tmp_path / "whole", {"train": 3, "test": 1})
    (whole / "test" / "dog").rename(whole / "test" / "wolf")
    with pytest.raises(UserError, match="class 'wolf' of test is not in train/, which has cat, dog"):
        load_data(DataConfig(source=str(whole)))
    (tmp_path / "single.jpg").touch()
    with pytest.raises(UserError, match=r"single.jpg: not a data set; expected fashion-mnist, a folder"):
        load_data(DataConfig(source=str(tmp_path / "single.jpg")))


def test_what_a_folder_of_mixed_sizes_cannot_do_is_said(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 4}, sizes=((20, 20), (30, 20)))
    config = DataConfig(source=str(tmp_path), validation=2, workers=0, augment=AugmentConfig(crop_padding=2))
    with pytest.raises(UserError, match=r"crop_padding needs images of one size.*use random_resized_crop"):
        load_data(config)


def test_sixteen_bit_images_are_refused(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 3})
    Image.fromarray(np.zeros((20, 20), dtype=np.uint16)).save(tmp_path / "train" / "cat" / "deep.png")
    with pytest.raises(UserError, match=r"deep.png: has pixels of mode I;16, more than 8 bits"):
        load_data(DataConfig(source=str(tmp_path), validation=2, workers=0))


def test_missing_pillow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path, {"train": 3})
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UserError, match=r"pip install 'ofa-energy\[images\]'"):
        load_data(DataConfig(source=str(tmp_path), validation=2))


@pytest.mark.reference
def test_real_photographs_as_jpeg(shared_data: Path, tmp_path: Path) -> None:
    """Twelve of each class of CIFAR-10's test images to train on, one to test on: the archive's first seventh is enough."""
    archive = shared_data / "cifar10-jpeg.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive} is absent")
    counts: dict[str, int] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            _, part, label = [*folder.split("/"), "", ""][:3]
            if member.isfile() and counts.get(label, 0) < 13:
                counts[label] = counts.get(label, 0) + 1
                path = tmp_path / ("train" if counts[label] < 13 else "test") / label / name
                path.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None
                path.write_bytes(content.read())
            if part == "train" or (len(counts) == 10 and set(counts.values()) == {13}):
                break
    data = load_data(DataConfig(source=str(tmp_path), validation=20, workers=2))
    assert data.sizes == {"train": 100, "validation": 20, "test": 10}
    assert "automobile" in data.classes
    assert data.image_size == 32
    images, _ = batches(data, batch_size=100, resolution=32)[0]
    assert images.shape == (100, 3, 32, 32)
    assert 0.3 < data.mean[1] < 0.6
