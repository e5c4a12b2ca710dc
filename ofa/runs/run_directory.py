"""The run directory, with everything that a training run leaves. `ofa.runs.run_files` has its layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
import yaml
from safetensors.torch import load, save

from ofa.data.batches import Data, data_of_images, load_data
from ofa.data.config import DataConfig
from ofa.data.record import DataRecord
from ofa.data.sources import fashion_mnist
from ofa.data.sources.read_source import data_root, find_source
from ofa.data.stored_images import stored
from ofa.distributed.world import ALONE, World
from ofa.errors import UserError
from ofa.files import schema
from ofa.files.atomic import atomic_write
from ofa.files.bundle import BundlePath, Place, as_path
from ofa.files.lock import LOCK
from ofa.files.vouched import read_tensors, vouch_for_tensors, vouched_text, write_vouched_json
from ofa.nets.supernet import Supernet
from ofa.runs.recipe import Recipe
from ofa.runs.run_files import WEIGHTS_ADVICE, RunFiles
from ofa.space.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class RunDirectory(RunFiles):
    """A run directory with its recipe, from which its data and its supernet can be loaded."""

    recipe: Recipe

    @classmethod
    def create(cls, path: str | Path, recipe: Recipe, space: SearchSpace) -> RunDirectory:
        """A new run directory, or an existing one of the same recipe and space.

        Raises:
            UserError: the folder holds a run with another recipe or space, or something else.
        """
        path = Path(path)
        if (path / "recipe.yaml").exists():
            run = cls._read(path)
            given = {"recipe": _as_stored(recipe, path / "recipe.yaml"), "space": space}
            for name in ("recipe", "space"):
                if getattr(run, name) != given[name]:
                    raise UserError(f"{path}: holds a run with another {name}; give another --run, or delete the folder")
            return run
        if path.exists() and not (path.is_dir() and all(_is_beginning(entry) for entry in path.iterdir())):
            raise UserError(f"{path}: exists and is no run directory; give another --run")
        atomic_write(path / "space.yaml", vouched_text(yaml.safe_dump(schema.to_plain(space), sort_keys=False)))
        run = cls(path=path, recipe=recipe, space=space)
        run.write_recipe(recipe)
        return run

    def write_recipe(self, recipe: Recipe) -> None:
        """Put a recipe in the place of the run's; this object keeps the one that it has."""
        atomic_write(self.folder / "recipe.yaml", vouched_text(yaml.safe_dump(schema.to_plain(recipe), sort_keys=False)))

    @classmethod
    def _read(cls, path: Place) -> Self:
        file = path / "recipe.yaml"
        recipe = _as_stored(schema.build(Recipe, schema.load_yaml(file), str(file)), file)
        return cls(path=path, recipe=recipe, space=cls._read_space(path))

    def supernet(self, device: torch.device | str = "cpu") -> Supernet:
        """The trained supernet, in eval mode; raises `UserError` where its file is damaged or of another space."""
        net = Supernet(self.space, torch.Generator())
        put_weights(net, load_weights(self.weights_path), self.weights_path)
        return net.to(device).eval()

    def data(self, world: World = ALONE, *, write_record: bool = False) -> Data:
        """The recipe's data, with the channels and classes of the space; found even after the run was moved.

        `write_record`: write the record of the data and keep images of them, if the run has none yet.

        Raises:
            UserError: the data are missing, do not fit the space, or are not those that the run was trained on.
        """
        known, place = world.once(lambda: (self.record(), self._place_of_data()))
        if place is None and self.import_path.exists():
            lacking = "was imported without images, so batch norm cannot be recalibrated and nothing measured"
            if self.images_path("train").exists():
                lacking = "keeps photos without labels, so nothing can be measured, and no net trained"
            raise UserError(
                f"{self.path}: {lacking}; ofa import with --data IMAGENET or FOLDER adds some; without images, query and "
                "extract have --unrecalibrated"
            )
        data = _load_from(place, self.recipe.data, self.space.in_channels, world, known)
        if len(data.classes) != self.space.classes:
            raise UserError(
                f"data {self.recipe.data.source} has {len(data.classes)} classes; the space {self.space.name} has "
                f"{self.space.classes}: set classes: {len(data.classes)} in the space or the recipe"
            )
        changed = None if known is None else known.difference(data.record)
        if changed is not None:
            raise UserError(
                f"data {data.record.found_at}: not what {self.path} was trained on: {changed}; restore the images, or train "
                "a new run"
            )
        if write_record:
            world.once(lambda: self._keep(data))
        return data

    def has_data(self) -> bool:
        """Tell whether the data set is here, or another one in its place; `data` finds that out."""
        return self._place_of_data() is not None

    def kept_data(self) -> Data | None:
        """The images that the run keeps, as data with the part `train` and perhaps `validation`.

        None where it keeps none; without any part where it has batch-norm statistics in their place.

        Raises:
            UserError: they are damaged, or do not fit the run's space.
        """
        found = {part: self.images(part) for part in ("train", "validation")}
        parts = {part: images for part, images in found.items() if images is not None}
        record = self.record()
        if record is None or not ("train" in parts or self.statistics()):
            return None
        for part, images in parts.items():
            channels, label = images.pixels.shape[3], int(images.labels.max())
            if channels != self.space.in_channels or label >= self.space.classes or len(record.mean) != channels:
                raise UserError(
                    f"{self.images_path(part)}: has {channels} channels and label {label}; the space {self.space.name} has "
                    f"{self.space.in_channels} channels and {self.space.classes} classes"
                )
        name = f"kept in {self.path} (the data set {self.recipe.data.source} is not here)"
        return data_of_images(self.recipe.data, parts, record, name)

    def keep_images(self, data: Data, part: str, count: int) -> None:
        """Keep the first images of a part; fewer where they would take more than a few megabytes."""
        content = stored(data.squares(part, count, self.space.resolutions[-1]))
        atomic_write(as_path(self.images_path(part)), content)

    def _keep(self, data: Data) -> None:
        if not self.record_path.exists():
            write_vouched_json(as_path(self.record_path), schema.to_plain(data.record))
        if not self.images_path("train").exists():
            self.keep_images(data, "train", self.recipe.evaluation.recalibration_images)

    def _place_of_data(self) -> Path | None:
        """The place where the run found its data before, else the recipe's; None where no data are."""
        source = Path(self.recipe.data.source)
        if isinstance(self.path, BundlePath):  # of a stranger maybe: no place of its own choosing
            return None if source.is_absolute() or ".." in source.parts else find_source(str(source), data_root())
        known = self.record()
        if known is not None and Path(known.found_at).exists():
            return Path(known.found_at)
        return find_source(self.recipe.data.source, data_root())


def _is_beginning(entry: Path) -> bool:
    """Tell whether a kill may have left this file before the run began: its space, a lock, a temporary file."""
    return entry.name == "space.yaml" or (entry.name.startswith(".") and entry.name.endswith((".tmp", LOCK)))


LEGACY: dict[str, Any] = {"split_by": "order", "exif_orientation": False}
"""Options of the recipe's section `data` that are missing in runs before version 0.2, with the values that these imply."""


def _as_stored(recipe: Recipe, file: Place) -> Recipe:
    """The recipe with the `LEGACY` options, where an older version wrote the file."""
    stored = schema.load_yaml(file).get("data")
    missing = {key: value for key, value in LEGACY.items() if isinstance(stored, dict) and key not in stored}
    return replace(recipe, data=replace(recipe.data, **missing)) if missing else recipe


def _load_from(place: Path | None, config: DataConfig, channels: int, world: World, known: DataRecord | None) -> Data:
    """The data at a place; None: where the recipe says, which tells what is missing there."""
    root = None
    if place is not None and config.source == fashion_mnist.NAME:
        root = place.parent
    elif place is not None:
        config = replace(config, source=str(place))
    return load_data(config, root, channels=channels, world=world, known=known)


def save_weights(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write a state dict as a safetensors file with a digest of its content; atomic."""
    content = save({key: value.detach().cpu().contiguous() for key, value in state.items()})
    atomic_write(path, vouch_for_tensors(content))


def load_weights(path: Place) -> dict[str, torch.Tensor]:
    """The state dict in a file; raises `UserError` where the file is missing, or damaged even by one bit."""
    return read_tensors(path, WEIGHTS_ADVICE, load)


def put_weights(net: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Place) -> None:
    """Load the weights of a file into a net; raises `UserError` if they belong to another net."""
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{path}: not the weights of this run: {' '.join(str(error).split())[:200]}") from None
