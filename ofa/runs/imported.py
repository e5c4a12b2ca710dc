"""A run directory around weights that were trained elsewhere: the published supernets, trained on ImageNet.

Such a run was not trained here: `import.json` records the file of the weights, and the recipe holds what other verbs need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ofa.data.augment.augmentation import AugmentConfig
from ofa.data.batches import Data, load_data
from ofa.data.config import DataConfig, NormaliseConfig
from ofa.data.photos import load_photos
from ofa.data.record import DataRecord
from ofa.data.sources.read_source import data_root, find_source, read_source
from ofa.errors import UserError
from ofa.files import schema
from ofa.files.atomic import sha256
from ofa.files.bundle import as_path
from ofa.files.vouched import read_vouched_json, write_vouched_json
from ofa.files.whole_folder import whole_folder
from ofa.measure.config import EvaluationConfig
from ofa.official import imagenet
from ofa.runs.recipe import Opens, Phase, Recipe
from ofa.runs.run_directory import RunDirectory, save_weights
from ofa.space.search_space import SearchSpace

PEAK_LR = 0.02
"""Learning rate for 64 images a step; `ofa train --init` halves it. The result, 0.04 for 256 images, is inside the range in
which Kornblith et al. (arXiv:1805.08974) found the best rates for fine-tuning ImageNet nets on other data."""

FEW = 64
"""Photos below which a warning is given."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The file from which a run's weights were imported; `import.json` in the run directory."""

    file: str
    """Name of the file."""
    file_sha256: str
    space: str
    """Name of the space that it was read as."""


def create_imported(path: str | Path, space: SearchSpace, checkpoint: Path, weights: Mapping[str, Tensor]) -> RunDirectory:
    """Create a run directory with the weights of a supernet, or open the one of an earlier import of the same file.

    Raises:
        UserError: the folder holds something else.
    """
    path = Path(path)
    if (space.in_channels, space.classes) != (3, len(imagenet.classes())):
        raise UserError(
            f"{space.name}: has {space.in_channels} channels and {space.classes} classes; nets that are imported are of "
            f"ImageNet, with 3 and {len(imagenet.classes())}"
        )
    origin = Origin(file=checkpoint.name, file_sha256=sha256(checkpoint), space=space.name)
    if (path / "recipe.yaml").exists():
        run = RunDirectory.open(path)
        if run.space != space or not run.import_path.exists() or read_origin(run).file_sha256 != origin.file_sha256:
            raise UserError(f"{path}: holds another run; give another --run, or delete the folder")
        return run
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path}: exists and is no run directory; give another --run")
    with whole_folder(path) as folder:
        run = RunDirectory.create(folder, imagenet_recipe(space), space)
        write_vouched_json(as_path(run.record_path), schema.to_plain(imagenet_record()))
        write_vouched_json(as_path(run.import_path), schema.to_plain(origin))
        save_weights(as_path(run.weights_path), weights)
    return RunDirectory.open(path)


def load_images(source: str, space: SearchSpace) -> Data:
    """Images for an imported run: ImageNet, a data set whose classes are its synsets, or a folder with photos as `train`.

    Raises:
        UserError: there are no images.
    """
    place, recipe = find_source(source, data_root()), imagenet_recipe(space)
    if place is None:
        raise UserError(f"--data is {source}; there is no such folder or file")
    if _is_imagenet(source):
        return load_data(replace(recipe.data, source=str(place.resolve())), channels=space.in_channels)
    return load_photos(place, recipe.evaluation.recalibration_images, recipe.data, imagenet_record())


def add_images(run: RunDirectory, data: Data) -> str:
    """Keep images to recalibrate batch norm on, in place of those before; of ImageNet also where it is, to measure on.

    Returns:
        What the run has now, in a line for people.

    Raises:
        UserError: an image that is chosen is damaged.
    """
    run.keep_images(data, "train", run.recipe.evaluation.recalibration_images)
    if "validation" in data.sizes:
        write_vouched_json(run.folder / "data.json", schema.to_plain(data.record))
        run.write_recipe(replace(run.recipe, data=data.config))
        return data.record.sentence()
    kept = len(run.images("train") or ())
    few = f"; fewer than {FEW} make noisy statistics" if kept < FEW else ""
    return f"{kept} photos out of {data.name} are kept to recalibrate batch norm on; nothing is measured on them{few}"


def _is_imagenet(source: str) -> bool:
    """Tell whether a source has the classes of ImageNet; a folder of photos is no source, or one with other classes."""
    try:
        return read_source(source, data_root()).classes == tuple(imagenet.classes())
    except UserError:
        return False


def read_origin(run: RunDirectory) -> Origin:
    """The content of `import.json`; raises `UserError` where it is damaged."""
    known = read_vouched_json(run.import_path, "import the weights again")
    return schema.build(Origin, known, str(run.import_path))


def imagenet_recipe(space: SearchSpace) -> Recipe:
    """The recipe that later verbs read: ImageNet's published preprocessing, and a learning rate to train further."""
    return Recipe(
        space=space.name,
        data=DataConfig(
            source="imagenet",
            normalise=NormaliseConfig(mean=imagenet.MEAN, std=imagenet.STD),
            evaluation_crop=0.875,
            augment=AugmentConfig(
                random_resized_crop=(0.08, 1.0), horizontal_flip=True, brightness=32 / 255, saturation=0.5
            ),
        ),
        phases=(Phase(name="imported", epochs=1, peak_lr=PEAK_LR, opens=Opens(everything=True)),),
        evaluation=EvaluationConfig(recalibration_images=2000),
        description="Weights that were trained elsewhere and imported; this recipe did not train them.",
    )


def imagenet_record() -> DataRecord:
    """The record of ImageNet, as far as it is known without the images."""
    return DataRecord(
        found_at="ImageNet (ILSVRC 2012)",
        classes=tuple(imagenet.classes()),
        channels=3,
        mean=imagenet.MEAN,
        std=imagenet.STD,
        images={},
        digests={},
    )
