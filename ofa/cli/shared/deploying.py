"""Shared by the verbs that convert a subnet: options for its directory and for calibration and check images."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.options import check_at_least
from ofa.errors import UserError

if TYPE_CHECKING:
    from ofa.deploy.deployable import Photos
    from ofa.deploy.formats.format import Deployable

RECIPE = "recipe.yaml"
CALIBRATION, CHECKED = 256, 500


@dataclass(frozen=True)
class Given:
    """A subnet to convert, with images."""

    source: Deployable
    calibration: Photos | None
    check_on: Photos


def add_deploying_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options for the subnet, for the formats and for the source of images."""
    parser.add_argument(
        "subnet", type=Path, nargs="?", metavar="SUBNET_DIR", help="a subnet directory of ofa query or extract"
    )
    parser.add_argument("--list", action="store_true", help="show the formats and which are installed")
    parser.add_argument(
        "--run", metavar="RUN", help="the run or bundle whose images are used (default: the run that holds SUBNET_DIR)"
    )
    parser.add_argument("--calibration", type=Path, metavar="FOLDER", help="images for int8, in place of the run's")
    parser.add_argument(
        "--images", type=int, default=CHECKED, metavar="N", help=f"images for the check (default: {CHECKED})"
    )
    parser.add_argument(
        "--input", choices=["uint8", "float"], default="uint8", help="pixels as uint8 0 to 255 (default) or float 0 to 1"
    )


def read_given(args: argparse.Namespace) -> Given:
    """The subnet and its images; without a run or a folder, the check uses random pixels and int8 is not possible."""
    if args.subnet is None:
        raise UserError("SUBNET_DIR is missing: a folder that ofa query, extract or finetune wrote")
    check_at_least(args, images=64)

    from ofa.deploy.deployable import photos_of_folder, read_deployable

    source = read_deployable(args.subnet, args.input == "uint8")
    side, channels = source.image.side, len(source.image.mean)
    calibration = check_on = None
    run = args.run or next((folder for folder in args.subnet.absolute().parents if (folder / RECIPE).is_file()), None)
    if run is not None:
        calibration, check_on = _photos_of_run(str(run), source, args.images)
    if args.calibration is not None:
        calibration = photos_of_folder(args.calibration, side, channels, CALIBRATION)
    if check_on is None:
        check_on = _random_photos(side, channels) if calibration is None else replace(calibration, labels=None)
    return Given(source, calibration, check_on)


def _photos_of_run(run: str, source: Deployable, count: int) -> tuple[Photos | None, Photos | None]:
    """Training images for calibration and validation images for the check, kept by the run or of its data set."""
    from ofa.deploy.deployable import photos_of_data
    from ofa.runs.run_directory import RunDirectory

    directory = RunDirectory.open(run)
    if directory.space.fingerprint != source.space.fingerprint:
        raise UserError(f"{run}: a run of another space ({directory.space.name}); the subnet is of {source.space.name}")
    kept, side = directory.kept_data(), source.image.side
    data = directory.data() if kept is None or directory.has_data() else kept
    training = kept if kept is not None and "train" in kept.sizes else data
    calibration = photos_of_data(training, "train", side, CALIBRATION) if "train" in training.sizes else None
    check_on = photos_of_data(data, "validation", side, count) if "validation" in data.sizes else None
    return calibration, check_on


def _random_photos(side: int, channels: int) -> Photos:
    import numpy as np

    from ofa.deploy.deployable import Photos

    pixels = np.random.default_rng(0).integers(0, 256, (64, side, side, channels), dtype=np.uint8)
    return Photos(pixels, None, "random pixels")


def list_formats(say: Callable[[str], None]) -> dict[str, Any]:
    """List the formats with their precisions and the packages that are missing for them."""
    from ofa.deploy.formats.catalogue import FORMATS, find_format, missing_packages

    listed = {}
    for format in map(find_format, FORMATS):
        missing = missing_packages(format)
        state = "installed" if not missing else f"needs {', '.join(missing)}: pip install 'ofa-energy[{format.extra}]'"
        say(f"{format.name:12}{', '.join(format.precisions):12}{state}")
        listed[format.name] = {"precisions": list(format.precisions), "missing": missing, "extra": format.extra}
    return {"formats": listed}
