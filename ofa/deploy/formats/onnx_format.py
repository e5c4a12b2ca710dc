"""ONNX: the same graph that `ofa profile` times; int8 by ONNX Runtime's static quantisation."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ofa.deploy.formats.format import CALIBRATION_BATCH, Deployable, Images, Logits, Precision, Runner, as_input
from ofa.deploy.formats.onnx_graph import ImageInput, build_network
from ofa.files.atomic import atomic_write
from ofa.space.shapes import walk_blocks


class OnnxFormat:
    """ONNX files for ONNX Runtime, OpenVINO, TensorRT and others; the batch size is dynamic."""

    name = "onnx"
    suffix = ".onnx"
    extra = "onnx"
    packages = ("onnx", "onnxruntime")
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    runs_here = True
    example = "run_onnx.py"

    def convert(self, source: Deployable, precision: Precision, calibration: Images | None, file: Path) -> list[Path]:
        """Implement `Format.convert`."""
        from ofa.deploy.formats.folded_weights import net_weights

        blocks = list(walk_blocks(source.space, source.subnet))
        model = build_network(blocks, net_weights(source.net), source.image, source.facts)
        if precision == "int8":
            assert calibration is not None
            model = _quantised(model, calibration, source.image)
        atomic_write(file, model.SerializeToString(deterministic=True))
        return [file]

    def runner(self, file: Path, image: ImageInput) -> Runner:
        """Implement `Format.runner`."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])

        def run(images: Images) -> Logits:
            logits: Logits = session.run(["logits"], {"images": as_input(images, image.dtype)})[0]
            return logits

        return run


def _quantised(model: Any, calibration: Images, image: ImageInput) -> Any:
    """Quantise a model: weights per channel; activations as uint8 between the mean extremes of batches of 8 images.

    The extremes over all images leave most of the eight bits to a few outliers: on CIFAR-10 that cost 1.2 points of top-1,
    the mean extremes .3 (docs/export.md).

    Weights use 7 of their 8 bits: integer kernels of x86 processors without VNNI saturate sums of two products, which
    changed the logits of a tiny network by a third. On x86, unsigned activations are twice as fast as signed ones. ONNX
    Runtime's preprocessing splits the hard swish, so that both of its parts are quantised.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[Images] = iter(np.array_split(calibration, max(1, len(calibration) // CALIBRATION_BATCH)))

        def get_next(self) -> dict[str, Any] | None:
            images = next(self.batches, None)
            return None if images is None else {"images": as_input(images, image.dtype)}

    facts = {entry.key: entry.value for entry in model.metadata_props}
    with tempfile.TemporaryDirectory() as folder:
        prepared, written = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
        types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        mean_extremes = {"CalibMovingAverage": True}
        quantize_static(
            prepared, written, Reader(), per_channel=True, reduce_range=True, extra_options=mean_extremes, **types
        )
        quantised = onnx.load(written)
    del quantised.metadata_props[:]
    for node in quantised.graph.node:
        del node.metadata_props[:]
    quantised.producer_name, quantised.producer_version = "ofa export", ""
    onnx.helper.set_model_props(quantised, facts)
    return quantised
