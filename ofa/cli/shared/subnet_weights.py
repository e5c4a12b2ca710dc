"""Weights of a subnet that a verb writes: with its own batch-norm statistics, with the supernet's, or none."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

    from ofa.runs.run_files import RunFiles
    from ofa.space.subnet import Subnet

UNRECALIBRATED = "weights are NOT RECALIBRATED: batch-norm statistics are the supernet's; a start for training, not for use"
NO_WEIGHTS = (
    "no weights: the run has no images to recalibrate batch norm on (ofa import with --data FOLDER adds some, "
    "--unrecalibrated writes the weights as they are)"
)


def add_unrecalibrated_argument(parser: argparse.ArgumentParser) -> None:
    """Define the option that does without images."""
    parser.add_argument(
        "--unrecalibrated", action="store_true", help="write weights with the batch-norm statistics of the supernet"
    )


def without_images(run: RunFiles) -> bool:
    """Tell whether a run was imported without images, so that batch norm cannot be recalibrated and nothing measured."""
    if not run.import_path.exists() or run.images_path("train").exists() or run.statistics() is not None:
        return False

    from ofa.runs.run_directory import RunDirectory

    return not RunDirectory.open(run.path).has_data()


def weights_of(run: RunFiles, subnet: Subnet, unrecalibrated: bool, device: str) -> dict[str, npt.NDArray[Any]] | None:
    """The weights to write for a subnet: with its own batch-norm statistics, or with the supernet's; None: no weights."""
    from ofa.runs.subnet_weights import sliced_weights, subnet_weights

    if unrecalibrated:
        return sliced_weights(run, subnet)
    return None if without_images(run) else subnet_weights(run, subnet, device)
