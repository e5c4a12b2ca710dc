"""OpenVINO, converted from the project's own ONNX graph; int8 by NNCF."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ofa.deploy.formats.format import Deployable, Images, Logits, Precision, Runner, as_input
from ofa.deploy.formats.onnx_format import OnnxFormat
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.deploy.formats.quiet import quiet


class OpenvinoFormat:
    """A graph (.xml) and its weights (.bin), dynamic batch size; run in float32 (by default OpenVINO may use bfloat16)."""

    name = "openvino"
    suffix = ".xml"
    extra = "openvino"
    packages = ("openvino", "nncf", "onnx")
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    runs_here = True
    example = "run_openvino.py"

    def convert(self, source: Deployable, precision: Precision, calibration: Images | None, file: Path) -> list[Path]:
        """Implement `Format.convert`."""
        import openvino

        with tempfile.TemporaryDirectory() as folder, quiet():
            graph = Path(folder, "subnet.onnx")
            OnnxFormat().convert(source, "fp32", None, graph)
            model = openvino.convert_model(graph)
            if precision == "int8":
                assert calibration is not None
                model = _quantised(model, calibration, source.image)
            model.set_rt_info(source.facts["classes"], ["classes"])
            openvino.save_model(model, file, compress_to_fp16=False)
        return [file, file.with_suffix(".bin")]

    def runner(self, file: Path, image: ImageInput) -> Runner:
        """Implement `Format.runner`."""
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        model = openvino.Core().compile_model(file, "CPU", settings)

        def run(images: Images) -> Logits:
            logits: Logits = model(as_input(images, image.dtype))[0]
            return logits

        return run


def _quantised(model: Any, calibration: Images, image: ImageInput) -> Any:
    """Quantise a model: weights symmetrically, activations asymmetrically (`MIXED`), between their extremes on the images.

    By default NNCF takes the mean extremes of single images and then corrects biases, which moved the logits of small nets
    by .12 to .34 of their deviation; so by .05 to .09 (docs/export.md). Weights use 7 of their 8 bits in all layers, as in
    `onnx_format`; by default NNCF does so in the first layer only.
    """
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    each = [as_input(calibration[i : i + 1], image.dtype) for i in range(len(calibration))]
    advanced = nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.ENABLE,
        disable_bias_correction=True,
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
    )
    return nncf.quantize(
        model,
        nncf.Dataset(each),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(each),
        advanced_parameters=advanced,
    )
