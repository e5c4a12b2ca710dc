"""The layout of a run directory, its space and its lock: all that verbs need which only search. No torch here.

- `recipe.yaml`, `space.yaml`: as resolved; a run goes on only with the same ones
- `data.json`: what the data are: classes, counts, normalisation, digests
- `import.json`: of weights that were trained elsewhere, where they are from (`ofa.runs.imported`)
- `metrics.jsonl`: a line per epoch
- `checkpoint/`: where training can be taken up again
- `teacher.safetensors`: the largest net after the first phase
- `supernet.safetensors`, `result.json`: the result, its accuracy on test data, time and energy
- `energy/`: time and energy by purpose (`ofa.energy.ledger`)
- `predictor/`, `queries/`: what later verbs add
- `.lock`: while a process writes to the run, which one
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ofa.distributed.world import ALONE, World
from ofa.errors import UserError
from ofa.files import schema
from ofa.files.atomic import remove_temporaries
from ofa.files.lock import locked
from ofa.space.search_space import SearchSpace

WRITTEN = ("recipe.yaml", "space.yaml", "data.json", "import.json", "metrics.jsonl", "result.json", "*.safetensors")
"""Files of a run directory that only the holder of its lock writes; so it does all in `WRITTEN_FOLDERS`."""
WRITTEN_FOLDERS = ("checkpoint", "energy", "predictor")


@contextmanager
def locked_run(path: str | Path, world: World = ALONE) -> Iterator[None]:
    """Keep a run directory, made if it is not there, for the processes of `world`; the first one holds the lock.

    Temporary files that killed processes left are deleted.

    Raises:
        UserError: another process holds the run directory; it is named.
    """
    path = Path(path)
    with ExitStack() as held:
        with world.agree():
            if world.first:
                if not path.exists():
                    path.mkdir(parents=True, exist_ok=True)  # another process may make it at this moment
                held.enter_context(locked(path))
                for name in WRITTEN:
                    remove_temporaries(path, name)
                for folder in WRITTEN_FOLDERS:
                    remove_temporaries(path / folder)
        yield


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
    def import_path(self) -> Path:
        """Where imported weights are from; there only if they are."""
        return self.path / "import.json"

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
        """Folder of the checkpoint from which training can be taken up again."""
        return self.path / "checkpoint"

    @property
    def has_checkpoint(self) -> bool:
        """Whether training has written a checkpoint yet."""
        return (self.checkpoint_folder / "latest.json").exists()

    @property
    def energy_folder(self) -> Path:
        """Ledgers of what was spent on the run."""
        return self.path / "energy"
