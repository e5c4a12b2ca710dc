"""The evaluator of a finished run: its supernet on its data, with the numbers of its recipe."""

from __future__ import annotations

import torch

from ofa.data.batches import Data
from ofa.distributed.world import ALONE, World
from ofa.errors import UserError
from ofa.measure.evaluator import SubnetEvaluator
from ofa.measure.memory import NO_LIMIT, USUAL, MemoryLimit
from ofa.runs.run_directory import RunDirectory


def evaluator_of_run(
    run: RunDirectory,
    device: torch.device | str = "cpu",
    images: int | None = None,
    world: World = ALONE,
    data: Data | None = None,
    memory: MemoryLimit = NO_LIMIT,
) -> SubnetEvaluator:
    """Load supernet and data of a finished run. Batch norm is recalibrated on the images that the run keeps, if it does.

    `images` is how many images of a split are used, None: all; `world` shares the subnets of a call of `top1`; `data` None:
    the data set where it is here, else the images that the run keeps; caches are fitted into the limit `memory`.

    Raises:
        UserError: the weights are damaged, or the data set is missing or does not fit the space.
    """
    kept = world.once(run.kept_data)
    if data is None:
        data = kept if kept is not None and not world.once(run.has_data) else data_set_of(run, world)
    recalibration = kept if kept is not None and "train" in kept.sizes else None
    net, numbers = run.supernet(device), run.recipe.evaluation
    return SubnetEvaluator(net, data, numbers, images, device, world, recalibration, USUAL, memory)


def data_set_of(run: RunDirectory, world: World) -> Data:
    """The data set of a run; where it is missing and no images are kept, the message says what would help."""
    if world.once(lambda: run.has_data() or run.import_path.exists()):
        return run.data(world)
    try:
        return run.data(world)
    except UserError as error:
        raise UserError(
            f"{error}; `ofa pack {run.path} --out FILE.ofa` on a machine that has it adds to the run what it needs of it"
        ) from None
