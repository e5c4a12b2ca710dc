"""The run directory: everything a training run leaves. `ofa.runs.run_files` knows its layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load, save

from ofa.data.batches import Data, load_data
from ofa.distributed.world import ALONE, World
from ofa.errors import UserError
from ofa.files import schema
from ofa.files.atomic import atomic_write
from ofa.nets.supernet import Supernet
from ofa.runs.recipe import Recipe
from ofa.runs.run_files import RunFiles
from ofa.space.search_space import SearchSpace

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class RunDirectory(RunFiles):
    """A run directory with its recipe, which gives its data and its supernet."""

    recipe: Recipe

    @classmethod
    def create(cls, path: str | Path, recipe: Recipe, space: SearchSpace) -> RunDirectory:
        """A new run directory, or the same one again.

        Raises:
            UserError: the folder holds another recipe or space, or something that is no run.
        """
        path = Path(path)
        if (path / "recipe.yaml").exists():
            run = cls._read(path)
            for name in ("recipe", "space"):
                if getattr(run, name) != {"recipe": recipe, "space": space}[name]:
                    raise UserError(f"{path}: holds a run with another {name}; give another --run, or delete the folder")
            return run
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path}: exists and is no run directory; give another --run")
        atomic_write(path / "space.yaml", yaml.safe_dump(schema.to_plain(space), sort_keys=False))
        atomic_write(path / "recipe.yaml", yaml.safe_dump(schema.to_plain(recipe), sort_keys=False))
        return cls(path=path, recipe=recipe, space=space)

    @classmethod
    def _read(cls, path: Path) -> Self:
        recipe = schema.build(Recipe, schema.load_yaml(path / "recipe.yaml"), str(path / "recipe.yaml"))
        return cls(path=path, recipe=recipe, space=cls._read_space(path))

    def supernet(self, device: torch.device | str = "cpu") -> Supernet:
        """The trained supernet, in eval mode; raises `UserError` where its file is damaged or of another space."""
        net = Supernet(self.space, torch.Generator())
        try:
            net.load_state_dict(load(self.weights_path.read_bytes()))
        except (SafetensorError, RuntimeError) as error:
            raise UserError(f"{self.weights_path}: not the weights of this run: {str(error).splitlines()[0]}") from None
        return net.to(device).eval()

    def data(self, world: World = ALONE) -> Data:
        """The recipe's data, with the channels and classes that the space expects."""
        return load_run_data(self.recipe, self.space, world)


def load_run_data(recipe: Recipe, space: SearchSpace, world: World = ALONE) -> Data:
    """The data of a recipe; raises `UserError` where its classes do not fit the space."""
    data = load_data(recipe.data, channels=space.in_channels, world=world)
    if len(data.classes) != space.classes:
        raise UserError(
            f"data {recipe.data.source} has {len(data.classes)} classes; the space {space.name} has {space.classes}: "
            f"set classes: {len(data.classes)} in the space or the recipe"
        )
    return data


def save_weights(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """A state dict as a safetensors file, written atomically."""
    atomic_write(path, save({key: value.detach().cpu().contiguous() for key, value in state.items()}))
