"""LiteRT (TensorFlow Lite): float32, or int8 throughout with int8 in and out, as microcontrollers want it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ofa.deploy.formats.format import CALIBRATION_BATCH, Deployable, Images, Logits, Precision, Runner, as_input
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.deploy.formats.quiet import quiet
from ofa.deploy.formats.tflite.tflite_file import rewrite, with_room_for_biases
from ofa.files.atomic import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

    from ofa.deploy.formats.camera_net import CameraNet

SIGNATURE, INPUT = "serving_default", "args_0"


class LitertFormat:
    """One image at a time. The input of an int8 file is pixel - 128, so that a device prepares nothing."""

    name = "litert"
    suffix = ".tflite"
    extra = "litert"
    packages = ("litert-torch", "ai-edge-quantizer", "ai-edge-litert")
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    runs_here = True
    example = "run_tflite.py"

    def convert(self, source: Deployable, precision: Precision, calibration: Images | None, file: Path) -> list[Path]:
        """Implement `Format.convert`."""
        import torch

        from ofa.deploy.formats.camera_net import CameraNet

        image = source.image
        int8 = precision == "int8"
        net = CameraNet(source, as_uint8=image.as_uint8 and not int8, centred=int8, same_padding=True).eval()
        shape = (1, image.side, image.side, len(image.mean))
        sample = torch.zeros(shape, dtype=torch.uint8 if net.as_uint8 else torch.float32)
        with quiet():
            content = _converted(net, sample)
            if int8:
                assert calibration is not None
                content = _quantised(content, calibration, net.centre)
            content = rewrite(content, planned=int8)
        atomic_write(file, content)
        return [file]

    def runner(self, file: Path, image: ImageInput) -> Runner:
        """Implement `Format.runner`."""
        with quiet():
            from ai_edge_litert.interpreter import Interpreter

            interpreter = Interpreter(model_content=file.read_bytes(), num_threads=1)
            interpreter.allocate_tensors()
        given, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        scale, zero = result["quantization"]

        def run(images: Images) -> Logits:
            logits = []
            for start in range(len(images)):
                interpreter.set_tensor(given["index"], as_input(images[start : start + 1], given["dtype"]))
                interpreter.invoke()
                raw = interpreter.get_tensor(result["index"])
                logits.append(raw if scale == 0 else (raw.astype(np.float32) - zero) * scale)
            return np.concatenate(logits).astype(np.float32)

        return run


def _converted(net: CameraNet, sample: Tensor) -> bytes:
    """The file in memory: where the tool writes one itself, a full disk ends the process without a word."""
    import litert_torch

    content: bytes = litert_torch.convert(net, (sample,)).model_content()
    return content


def _quantised(content: bytes, calibration: Images, centre: float) -> bytes:
    """Weights per channel; activations between the mean extremes of batches of 8 images, as for ONNX.

    The tool itself keeps a moving average of minima and maxima, so that the last twenty images decide: each image is
    calibrated alone, and the ranges are merged here.
    """
    from ai_edge_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(bytearray(content))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    seen: dict[str, list[dict[str, Any]]] = {}
    for start in range(len(calibration)):
        image = calibration[start : start + 1].astype(np.float32) / 255 - np.float32(centre)
        for name, range_ in tool.calibrate({SIGNATURE: [{INPUT: image}]}, num_threads=1).items():
            seen.setdefault(name, []).append(range_)
    ranges = {name: _mean_extremes(found) for name, found in seen.items()}
    of_input = next(name for name in ranges if INPUT in name)
    shape = np.shape(ranges[of_input]["min"])
    ranges[of_input] |= {"min": np.full(shape, -centre, np.float32), "max": np.full(shape, 1 - centre, np.float32)}
    tool = quantizer.Quantizer(bytearray(with_room_for_biases(content, _scales(ranges))))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    return bytes(tool.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model)


def _mean_extremes(found: list[dict[str, Any]]) -> dict[str, Any]:
    """A tensor's extremes on each image, as one: the mean over batches of their extremes."""
    merged = dict(found[0])
    for key, extreme in (("min", np.min), ("max", np.max)):
        if key in merged:
            batches = np.array_split(np.stack([range_[key] for range_ in found]), max(1, len(found) // CALIBRATION_BATCH))
            merged[key] = np.mean([extreme(batch, axis=0) for batch in batches], axis=0, dtype=np.float32)
    return merged


def _scales(ranges: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Scale of each tensor of activations in int8: its range, in which 0 lies, over 255."""
    known = {name: range_ for name, range_ in ranges.items() if "min" in range_ and np.size(range_["min"]) == 1}
    return {name: float(max(r["max"].item(), 0) - min(r["min"].item(), 0)) / 255 for name, r in known.items()}
