"""What a format is: it converts a subnet to a file, and runs that file where its runtime is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ofa.deploy.formats.onnx_graph import ImageInput

if TYPE_CHECKING:
    from ofa.nets.plain import Net
    from ofa.space.search_space import SearchSpace
    from ofa.space.subnet import Subnet

Precision = Literal["fp32", "int8"]
Images = npt.NDArray[np.uint8]
"""uint8[n, side, side, channels], as a camera gives them."""
Logits = npt.NDArray[np.float32]
"""float32[n, classes]."""
Runner = Callable[[Images], Logits]


@dataclass(frozen=True, eq=False)
class Deployable:
    """A subnet that is to run elsewhere: its network in eval mode, and the images that it takes."""

    space: SearchSpace
    subnet: Subnet
    net: Net
    image: ImageInput
    facts: Mapping[str, str]
    """Kept in the file where the format has a place: classes, title, the space's fingerprint."""


class Format(Protocol):
    """A file format with its converter and its runtime; libraries are imported by the methods, not before."""

    name: str
    suffix: str
    extra: str
    """The extra of this package that installs what it needs."""
    packages: tuple[str, ...]
    """Distributions that must be installed, by their names on PyPI."""
    precisions: tuple[Precision, ...]
    example: str | None
    """A program that classifies a photo with the file and without this project: a name in `examples/`."""

    def convert(self, source: Deployable, precision: Precision, calibration: Images | None, file: Path) -> list[Path]:
        """Write the network to a file, and what belongs to it beside it.

        Args:
            source: the network.
            precision: of weights and activations.
            calibration: images that show the range of activations, in mixed order; int8 needs them.
            file: where to.

        Returns:
            The files written; `file` is the first.

        Raises:
            UserError: the format cannot express the network.
        """

    def runner(self, file: Path, image: ImageInput) -> Runner:
        """What runs the file here, on one thread, and gives logits whatever the precision."""
