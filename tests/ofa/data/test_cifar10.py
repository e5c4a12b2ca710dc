"""CIFAR-10 out of its archive, and what a recipe whose data are missing says."""

from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa.cli.main import main
from ofa.data.sources import cifar10, download
from ofa.data.sources.read_source import read_source
from ofa.errors import UserError
from ofa.files import shipped
from ofa.runs.run_files import RunFiles
from tests.verbs import error, ofa


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive like the published one, of 10 images a file."""
    path = tmp_path / "cifar-10-binary.tar.gz"
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w:gz") as file:
        for number, name in enumerate(["test_batch.bin", *(f"data_batch_{i}.bin" for i in range(1, 6))]):
            records = rng.integers(0, 256, (10, cifar10.RECORD_BYTES), dtype=np.uint8)
            records[:, 0] = (np.arange(10) + number) % 10
            records[0, 1:4] = (7, 8, 9)  # the first three red pixels of the first row
            info = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            info.size = records.nbytes
            file.addfile(info, io.BytesIO(records.tobytes()))
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(cifar10, "CLASSES", tuple(f"kind {i}" for i in range(10)))
    monkeypatch.setenv("OFA_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return path


def test_the_archive_becomes_images_in_colour(archive: Path) -> None:
    arrays = cifar10.read_archive(archive)
    assert arrays["x_train"].shape == (50, 32, 32, 3)
    assert arrays["x_test"].shape == (10, 32, 32, 3)
    assert arrays["y_test"].tolist() == list(range(10))
    assert arrays["y_train"].tolist()[8:12] == [9, 0, 2, 3]
    assert arrays["x_train"][0, 0, :3, 0].tolist() == [7, 8, 9]


def test_the_verb_puts_it_where_the_recipes_look(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answer(address: str, timeout: float) -> Any:
        asked.append(address)
        return io.BytesIO(archive.read_bytes())

    monkeypatch.setattr(download.urllib.request, "urlopen", answer)
    for source in (cifar10.ADDRESS, "already there"):
        assert ofa(capsys, "data", "cifar10")["source"] == source
    assert asked == [cifar10.ADDRESS]
    assert ofa(capsys, "data", "cifar10", "--from", archive)["source"] == str(archive)
    read = read_source("cifar10", tmp_path / "data")
    assert len(read.parts["train"].labels) == 50
    assert read.classes[9] == "kind 9"


def test_another_file_is_refused_and_no_network_says_what_to_do(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    assert "SHA-256 is " in error(capsys, "data", "cifar10", "--from", archive)
    assert "no such file" in error(capsys, "data", "cifar10", "--from", tmp_path / "none").lower()

    def offline(address: str, timeout: float) -> Any:
        raise urllib.error.URLError("offline")

    monkeypatch.setattr(download.urllib.request, "urlopen", offline)
    capsys.readouterr()
    assert main(["data", "cifar10"]) == 2
    assert capsys.readouterr().err.endswith("offline>; give the archive with --from PATH\n")
    assert not (tmp_path / "data" / "cifar10.npz").exists()


@pytest.mark.parametrize("recipe", shipped.names(""))
def test_a_shipped_recipe_without_its_data_says_how_to_get_them(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OFA_DATA", str(tmp_path / "empty"))
    text = error(capsys, "train", recipe, "--device", "cpu")
    assert "ofa data " in text or "https://" in text


def test_a_missing_supernet_to_start_from_is_told_by_its_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"make one with: ofa train cifar-grey --run .*runs/cifar-grey\b"):
        RunFiles.open(tmp_path / "runs" / "cifar-grey")
    with pytest.raises(UserError, match=r"make one with: ofa train CONFIG --run .*runs/mine\b"):
        RunFiles.open(tmp_path / "runs" / "mine")
