"""The protocol of a format: it converts a subnet to a file, and runs that file if its runtime is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ofa.deploy.formats.onnx_graph import ImageInput

if TYPE_CHECKING:
    from ofa.nets.plain import Net
    from ofa.space.search_space import SearchSpace
    from ofa.space.subnet import Subnet

Precision = Literal["fp32", "int8"]
Images = npt.NDArray[np.uint8]
"""uint8[n, side, side, channels], values 0 to 255, not normalised."""
Logits = npt.NDArray[np.float32]
"""float32[n, classes]."""
Runner = Callable[[Images], Logits]


LEAST_INT8 = -128


def as_input(images: Images, kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """Images as a file takes them, by the type of its input: uint8; int8, pixel - 128; float32 of 0 to 1."""
    if np.dtype(kind) == np.int8:
        return (images.astype(np.int16) + LEAST_INT8).astype(np.int8)
    return images if np.dtype(kind) == np.uint8 else images.astype(np.float32) / 255


@dataclass(frozen=True, eq=False)
class Deployable:
    """A subnet to convert: its network in eval mode, and the form of its input images."""

    space: SearchSpace
    subnet: Subnet
    net: Net
    image: ImageInput
    facts: Mapping[str, str]
    """Metadata for the file, if the format can hold it: classes, title, the space's fingerprint."""


CALIBRATION_BATCH = 8
"""Calibration images of a batch; extremes are averaged over batches, so that an outlier does not take most bits."""


class Format(Protocol):
    """A file format with its converter and its runtime; its libraries are imported inside the methods only."""

    name: str
    suffix: str
    extra: str
    """The extra of this package that installs the distributions that the format needs."""
    packages: tuple[str, ...]
    """Distributions that must be installed, by their names on PyPI."""
    precisions: tuple[Precision, ...]
    runs_here: bool
    """False: the file is for other devices, so that neither its time here nor, without a runner, its output is known."""
    example: str | None
    """File name in `examples/` of a program that classifies a photo with the exported file, without this project."""

    def convert(self, source: Deployable, precision: Precision, calibration: Images | None, file: Path) -> list[Path]:
        """Write the network to a file, and further files that the format needs beside it.

        Args:
            source: the network.
            precision: precision of weights and activations.
            calibration: images in random order that show the range of activations; required for int8.
            file: path of the main file.

        Returns:
            The files written; `file` is the first.

        Raises:
            UserError: the format cannot express the network.
        """

    def runner(self, file: Path, image: ImageInput) -> Runner | None:
        """A function that runs the file on this machine, on one thread, and returns float32 logits at any precision.

        None: nothing here can run it.
        """
