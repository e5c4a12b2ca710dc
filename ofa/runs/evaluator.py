"""The evaluator of a finished run: its supernet on its data, with the numbers of its recipe."""

from __future__ import annotations

import torch

from ofa.distributed.world import ALONE, World
from ofa.measure.evaluator import SubnetEvaluator
from ofa.runs.run_directory import RunDirectory


def evaluator_of_run(
    run: RunDirectory, device: torch.device | str = "cpu", images: int | None = None, world: World = ALONE
) -> SubnetEvaluator:
    """Load supernet and data of a finished run.

    Args:
        run: the run.
        device: device on which subnets run.
        images: number of images of a split to use; None: all.
        world: the ranks that share the subnets of a call of `top1`.

    Raises:
        UserError: the weights are damaged, or the data set is missing or does not fit the space.
    """
    return SubnetEvaluator(run.supernet(device), run.data(world), run.recipe.evaluation, images, device, world)
