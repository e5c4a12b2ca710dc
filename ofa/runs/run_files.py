"""The layout of a run directory, its space and its lock, which is all that searching verbs need. No torch here.

- `recipe.yaml`, `space.yaml`: the resolved recipe and space; a run resumes only with the same ones
- `data.json`: the record of the data: classes, counts, normalisation, digests
- `images/`: training images for batch-norm statistics, perhaps validation images: all that is needed of the data later
- `import.json`: the source of imported weights (`ofa.runs.imported`); only in runs that `ofa import` made
- `metrics.jsonl`: a line per epoch
- `checkpoint/`: the checkpoint at which training resumes
- `teacher.safetensors`: the largest net after the first phase
- `supernet.safetensors`, `result.json`: the trained weights; accuracy on test data, time and energy
- `energy/`: time and energy by purpose (`ofa.energy.ledger`)
- `predictor/`, `queries/`: results of later verbs
- `.lock`: the process that writes to the run at present
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ofa.data.record import DataRecord
from ofa.data.stored_images import StoredImages
from ofa.distributed.world import ALONE, World
from ofa.errors import UserError
from ofa.files import schema, shipped
from ofa.files.atomic import remove_temporaries
from ofa.files.bundle import Place, as_path, open_place
from ofa.files.lock import locked
from ofa.files.vouched import read_tensors, read_vouched_json
from ofa.measure.config import EvaluationConfig
from ofa.runs.stored_statistics import StoredStatistics
from ofa.runs.zoo import find_run, zoo_names
from ofa.space.search_space import SearchSpace

if TYPE_CHECKING:
    import numpy.typing as npt

WEIGHTS_ADVICE = "copy the file again, or train again"
WRITTEN = ("recipe.yaml", "space.yaml", "data.json", "import.json", "metrics.jsonl", "result.json", "*.safetensors")
"""Files of a run directory that only the holder of its lock writes, like all files in `WRITTEN_FOLDERS`."""
WRITTEN_FOLDERS = ("checkpoint", "energy", "images", "predictor")


@contextmanager
def locked_run(path: str | Path, world: World = ALONE, wait_s: float = 0.0) -> Iterator[None]:
    """Lock a run directory, created if it does not exist, for the ranks of `world`; rank 0 holds the lock.

    Temporary files that killed processes left are deleted. `wait_s`: seconds to wait for another process.

    Raises:
        UserError: another process holds the lock; the message names it.
    """
    path = Path(path)
    with ExitStack() as held:
        with world.agree():
            if world.first:
                if not path.exists():
                    path.mkdir(parents=True, exist_ok=True)  # another process may make it at this moment
                held.enter_context(locked(path, wait_s=wait_s))
                for name in WRITTEN:
                    remove_temporaries(path, name)
                for folder in WRITTEN_FOLDERS:
                    remove_temporaries(path / folder)
        yield


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """A run: a run directory, or a bundle of one, that holds at least a recipe and its space."""

    path: Place
    """The directory, or the root of the bundle."""
    space: SearchSpace

    @classmethod
    def open(cls, path: str | Place) -> Self:
        """A finished run; raises `UserError` if the folder is not one."""
        path = open_place(find_run(path))
        if not (path / "recipe.yaml").exists():
            config = path.name if path.name in shipped.names("") else "CONFIG"
            advice = f"make one with: ofa train {config} --run {path}"
            if zoo_names():
                advice += f", or take one of the zoo: {', '.join(zoo_names())}"
            raise UserError(f"{path}: no run directory (no recipe.yaml in it); {advice}")
        run = cls._read(path)
        if not run.weights_path.exists():
            raise UserError(f"{path}: training is not finished; continue it with: ofa train CONFIG --run {path}")
        return run

    @classmethod
    def _read(cls, path: Place) -> Self:
        return cls(path=path, space=cls._read_space(path))

    @staticmethod
    def _read_space(path: Place) -> SearchSpace:
        return schema.build(SearchSpace, schema.load_yaml(path / "space.yaml"), str(path / "space.yaml"))

    @property
    def folder(self) -> Path:
        """The run directory, to write to; raises `UserError` for a bundle."""
        return as_path(self.path)

    def record(self) -> DataRecord | None:
        """The record of the run's data; None where it is not written yet, or the run is older than version 0.2."""
        if not self.record_path.exists():
            return None
        known = read_vouched_json(self.record_path, "delete it if the images are those that the run was trained on")
        return schema.build(DataRecord, known, str(self.record_path))

    def images(self, part: str = "train") -> StoredImages | None:
        """The images of `train` or `validation` that the run keeps; None where it keeps none."""
        place = self.images_path(part)
        return StoredImages.read(place) if place.exists() else None

    def statistics(self) -> StoredStatistics | None:
        """Batch-norm statistics of chosen subnets, which a bundle without images has; None elsewhere."""
        place = self.path / "statistics.safetensors"
        return StoredStatistics.read(place, self.space) if place.exists() else None

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """The supernet's state as arrays, which are not to be written to; raises `UserError` where the file is damaged."""
        from safetensors.numpy import load

        return read_tensors(self.weights_path, WEIGHTS_ADVICE, load)

    def evaluation(self) -> EvaluationConfig:
        """The section `evaluation` of the recipe, without reading the rest of it."""
        file = self.path / "recipe.yaml"
        recipe = schema.load_yaml(file)
        if "evaluation" not in recipe:
            raise UserError(f"{file}: no recipe of a run: its section evaluation is missing")
        return schema.build(EvaluationConfig, recipe["evaluation"], f"{file}: evaluation")

    def images_path(self, part: str) -> Place:
        """The place of the kept images of a part."""
        return self.path / "images" / f"{part}.safetensors"

    @property
    def record_path(self) -> Place:
        """Record of the data that the run is trained on."""
        return self.path / "data.json"

    @property
    def import_path(self) -> Place:
        """File with the source of imported weights; absent from other runs."""
        return self.path / "import.json"

    @property
    def weights_path(self) -> Place:
        """The supernet's weights, once training is finished."""
        return self.path / "supernet.safetensors"

    @property
    def metrics_path(self) -> Place:
        """A JSON line per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def result_path(self) -> Place:
        """Accuracies of the finished supernet."""
        return self.path / "result.json"

    @property
    def checkpoint_folder(self) -> Path:
        """Folder of the checkpoint at which training resumes."""
        return self.folder / "checkpoint"

    @property
    def has_checkpoint(self) -> bool:
        """True once training has written a checkpoint."""
        return (self.checkpoint_folder / "latest.json").exists()

    @property
    def energy_folder(self) -> Path:
        """Folder of the ledgers of time and energy."""
        return self.folder / "energy"
