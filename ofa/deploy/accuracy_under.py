"""The accuracy of a subnet as a platform computes it: its int8 export in a real runtime, or draws of an analog array."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ofa.deploy.deployable import photos_of_data, uint8_batches
from ofa.deploy.formats.catalogue import check_installed, find_format, version_of
from ofa.deploy.formats.format import Deployable
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.errors import UserError
from ofa.measure.analog import correct_under_noise
from ofa.measure.evaluator import SubnetEvaluator
from ofa.nets.plain import Net
from ofa.numerics.stated import AnalogNumerics, Numerics, check_measurable
from ofa.space.subnet import Subnet

CALIBRATION = 256
"""Training images that show the range of activations."""


def runtime_of(numerics: Numerics, platform: str) -> str:
    """The runtime that the numerics of a platform are measured with, in words.

    Raises:
        UserError: they are fp32, or the runtime is not installed; the message names the extra that installs it.
    """
    check_measurable(numerics, platform)
    if isinstance(numerics, AnalogNumerics):
        return "PyTorch, simulated"
    check_installed(find_format("onnx"))
    return f"ONNX Runtime {version_of('onnxruntime')}"


def correct_under(
    evaluator: SubnetEvaluator, subnet: Subnet, numerics: Numerics, draws: int, seed: int, split: str = "validation"
) -> npt.NDArray[np.bool_]:
    """For each draw and each image, whether the top-1 prediction is its label, bool[draws, images]; int8 has one draw."""
    if isinstance(numerics, AnalogNumerics):
        return correct_under_noise(evaluator, subnet, numerics.analog, draws, seed, split)
    return correct_in_int8(evaluator, subnet, split)[None]


@torch.inference_mode()
def correct_in_int8(evaluator: SubnetEvaluator, subnet: Subnet, split: str = "validation") -> npt.NDArray[np.bool_]:
    """For each image, whether the int8 export of a subnet, run in ONNX Runtime, predicts its label, bool[images].

    Raises:
        UserError: the runtime is not installed, or there are no training images to calibrate it on.
    """
    format, data, training = find_format("onnx"), evaluator.data, evaluator.recalibration
    check_installed(format)
    if "train" not in training.sizes:
        raise UserError(f"data {training.name}: no training images; int8 needs some that show the range of activations")
    side, net = subnet.resolution, evaluator.module(subnet).cpu()
    assert isinstance(net, Net)
    image = ImageInput(side, tuple(data.mean), tuple(data.std), as_uint8=True)
    source = Deployable(evaluator.supernet.space, subnet, net, image, {})
    calibration = photos_of_data(training, "train", side, CALIBRATION)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "subnet.onnx")
        format.convert(source, "int8", calibration.pixels, file)
        run = format.runner(file, image)
        assert run is not None
        batches = uint8_batches(data, split, side, evaluator.size(split))
        return np.concatenate([run(pixels).argmax(1) == labels for pixels, labels in batches])
