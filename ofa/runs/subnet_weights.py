"""The weights of a subnet with its own batch-norm statistics, as arrays: what a query writes. Torch only where it pays.

Up to ARRAY_WORK numpy computes the statistics, beyond that torch does. The rule, and so the bits, are the same for a run and
for a bundle of it, whatever verb asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ofa.data.array_batches import array_batches
from ofa.data.record import DataRecord
from ofa.data.stored_images import StoredImages
from ofa.distributed.world import ALONE
from ofa.errors import UserError
from ofa.measure.array_recalibration import recalibrated, with_statistics
from ofa.nets.slices import subnet_tensors
from ofa.runs.run_files import RunFiles
from ofa.runs.stored_statistics import StoredStatistics
from ofa.space.layers import layers, named_blocks
from ofa.space.shapes import macs, walk
from ofa.space.subnet import Subnet

if TYPE_CHECKING:
    from ofa.measure.evaluator import SubnetEvaluator

ARRAY_WORK = 1e10
"""Multiply-accumulates of all images together up to which numpy is faster than to import torch and let it compute."""


def subnet_weights(
    run: RunFiles, subnet: Subnet, device: str = "auto", evaluator: SubnetEvaluator | None = None
) -> dict[str, npt.NDArray[Any]]:
    """The state of the plain network of a subnet, recalibrated on the training images that the run keeps.

    A bundle without images has the statistics of some subnets instead. Where torch computes, it does so on `device`, or with
    an `evaluator` of the run that is open already.

    Raises:
        UserError: the weights or the images are damaged; or the run keeps neither images nor statistics of this subnet, and
            its data set is not here.
    """
    statistics, config = run.statistics(), run.evaluation()
    if statistics is not None and not run.images_path("train").exists():
        return with_statistics(sliced_weights(run, subnet), _carried(run, statistics, subnet))
    if config.recalibration_images * macs(walk(run.space, subnet)) <= ARRAY_WORK:
        pixels = _images(run, config.recalibration_images).pixels[: config.recalibration_images]
        known = record_of_data(run)
        batches = array_batches(pixels, subnet.resolution, known.mean, known.std, min(config.batch_size, len(pixels)))
        return recalibrated(run.space, subnet, sliced_weights(run, subnet), batches)

    from ofa.distributed.devices import choose_device
    from ofa.nets.plain import arrays
    from ofa.runs.evaluator import evaluator_of_run
    from ofa.runs.run_directory import RunDirectory

    if evaluator is None:
        evaluator = evaluator_of_run(RunDirectory.open(run.path), choose_device(device))
    return arrays(evaluator.module(subnet))


def _images(run: RunFiles, count: int) -> StoredImages:
    """The training images that a run keeps; of a run of a version before 0.3, as it would keep them."""
    kept = run.images("train")
    if kept is not None:
        return kept

    from ofa.runs.evaluator import data_set_of
    from ofa.runs.run_directory import RunDirectory

    return data_set_of(RunDirectory.open(run.path), ALONE).squares("train", count, run.space.resolutions[-1])


def record_of_data(run: RunFiles) -> DataRecord:
    """The record of a run's data; for a run of a version before 0.2, of its data set as it is now."""
    known = run.record()
    if known is not None:
        return known

    from ofa.runs.run_directory import RunDirectory

    return RunDirectory.open(run.path).data().record


def _carried(run: RunFiles, statistics: StoredStatistics, subnet: Subnet) -> npt.NDArray[np.float32]:
    for genes, values in zip(statistics.genes, statistics.values, strict=True):
        if (genes == run.space.encode(subnet)[0]).all():
            return values
    raise UserError(
        f"{run.path}: keeps no images, but the batch-norm statistics of {len(statistics)} subnets, and this is none of them"
    )


def sliced_weights(run: RunFiles, subnet: Subnet) -> dict[str, npt.NDArray[Any]]:
    """The state of a subnet with the supernet's batch-norm statistics; raises `UserError` for weights of another net."""
    wrong = f"{run.weights_path}: not the weights of this run"
    try:
        found = {key: np.asarray(value) for key, value in subnet_tensors(run.weights(), run.space, subnet).items()}
    except KeyError as error:
        raise UserError(f"{wrong}: {error} is missing") from None
    except (ValueError, IndexError) as error:
        raise UserError(f"{wrong}: {error}") from None
    for block in named_blocks(run.space, subnet):
        for layer, op in layers(block.shape).items():
            for key in (key for key in found if key.startswith(f"{block.name}.{layer}.")):
                needed = op.weight_shape if found[key].ndim > 1 else (op.out_channels,) * found[key].ndim
                if found[key].shape != needed:
                    raise UserError(f"{wrong}: {key} has shape {list(found[key].shape)}; the subnet needs {list(needed)}")
    return found
