"""Where things lie in a run directory, and its space: what verbs need that only search. No torch here.

- `recipe.yaml`, `space.yaml`: as resolved; a run goes on only with the same ones
- `data.json`: what the data are: classes, counts, normalisation, digests
- `metrics.jsonl`: a line per epoch
- `checkpoint/`: where training can be taken up again
- `teacher.safetensors`: the largest net after the first phase
- `supernet.safetensors`, `result.json`: the result, its accuracy on test data, time and energy
- `predictor/`, `queries/`: what later verbs add
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ofa.errors import UserError
from ofa.files import schema
from ofa.space.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """A run directory that holds at least a recipe and its space."""

    path: Path
    space: SearchSpace

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """A finished run; raises `UserError` if the folder is none."""
        path = Path(path)
        if not (path / "recipe.yaml").exists():
            raise UserError(f"{path}: no run directory (no recipe.yaml in it); make one with: ofa train CONFIG --run {path}")
        run = cls._read(path)
        if not run.weights_path.exists():
            raise UserError(f"{path}: training is not finished; go on with the same command: ofa train CONFIG --run {path}")
        return run

    @classmethod
    def _read(cls, path: Path) -> Self:
        return cls(path=path, space=cls._read_space(path))

    @staticmethod
    def _read_space(path: Path) -> SearchSpace:
        return schema.build(SearchSpace, schema.load_yaml(path / "space.yaml"), str(path / "space.yaml"))

    @property
    def record_path(self) -> Path:
        """What data the run is trained on."""
        return self.path / "data.json"

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

    @property
    def has_checkpoint(self) -> bool:
        """Whether training has written a checkpoint yet."""
        return (self.checkpoint_folder / "latest.json").exists()
