"""The run directory: everything a training run leaves, and the only place that knows its layout.

- `recipe.yaml`, `space.yaml`: as resolved; a run goes on only with the same ones
- `metrics.jsonl`: a line per epoch
- `checkpoint/`: where training can be taken up again
- `teacher.safetensors`: the largest net after the first phase
- `supernet.safetensors`, `result.json`: the result, its accuracy on test data, time and energy
- `predictor/`, `queries/`: what later verbs add
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import yaml
from safetensors.torch import load, save

from ofa import schema
from ofa.data import Data, load_data
from ofa.errors import UserError
from ofa.files import atomic_write
from ofa.recipe import Recipe
from ofa.space import SearchSpace
from ofa.supernet import Supernet

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class RunDirectory:
    """A run directory that holds at least a recipe and its space."""

    path: Path
    recipe: Recipe
    space: SearchSpace

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
        return cls(path, recipe, space)

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """A finished run; raises `UserError` if the folder is none."""
        path = Path(path)
        if not (path / "recipe.yaml").exists():
            raise UserError(f"{path}: no run directory (no recipe.yaml in it); make one with: ofa train CONFIG --run {path}")
        run = cls._read(path)
        if not run.weights_path.exists():
            raise UserError(f"{path}: training is not finished; go on with the same command: ofa train CONFIG --run {path}")
        return run

    @classmethod
    def _read(cls, path: Path) -> RunDirectory:
        recipe = schema.build(Recipe, schema.load_yaml(path / "recipe.yaml"), str(path / "recipe.yaml"))
        space = schema.build(SearchSpace, schema.load_yaml(path / "space.yaml"), str(path / "space.yaml"))
        return cls(path, recipe, space)

    @property
    def weights_path(self) -> Path:
        """The supernet's weights, once training is finished."""
        return self.path / "supernet.safetensors"

    @property
    def metrics_path(self) -> Path:
        """A JSON line per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def result_path(self) -> Path:
        """Accuracies of the finished supernet."""
        return self.path / "result.json"

    @property
    def checkpoint_folder(self) -> Path:
        """Where training can be taken up again."""
        return self.path / "checkpoint"

    def supernet(self, device: torch.device | str = "cpu") -> Supernet:
        """The trained supernet, in eval mode."""
        net = Supernet(self.space, torch.Generator())
        net.load_state_dict(load(self.weights_path.read_bytes()))
        return net.to(device).eval()

    def data(self) -> Data:
        """The recipe's data, with the channels and classes that the space expects."""
        return load_run_data(self.recipe, self.space)


def load_run_data(recipe: Recipe, space: SearchSpace) -> Data:
    """The data of a recipe; raises `UserError` where its classes do not fit the space."""
    data = load_data(recipe.data, channels=space.in_channels)
    if len(data.classes) != space.classes:
        raise UserError(
            f"data {recipe.data.source} has {len(data.classes)} classes; the space {space.name} has {space.classes}: "
            f"set classes: {len(data.classes)} in the space or the recipe"
        )
    return data


def save_weights(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """A state dict as a safetensors file, written atomically."""
    atomic_write(path, save({key: value.detach().cpu().contiguous() for key, value in state.items()}))
