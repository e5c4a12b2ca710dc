"""ExecuTorch: a program for its XNNPACK backend; int8 by PyTorch's own quantisation (pt2e)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ofa.deploy.formats.format import Deployable, Images, Logits, Precision, Runner, as_input
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.deploy.formats.quiet import quiet
from ofa.files.atomic import atomic_write

if TYPE_CHECKING:
    from torch import Tensor


class ExecutorchFormat:
    """One image at a time, the whole network in one delegate. Activations of int8 are asymmetric, weights per channel."""

    name = "executorch"
    suffix = ".pte"
    extra = "executorch"
    packages = ("executorch", "torchao")
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    runs_here = True
    example = None

    def convert(self, source: Deployable, precision: Precision, calibration: Images | None, file: Path) -> list[Path]:
        """Implement `Format.convert`."""
        import torch

        from ofa.deploy.formats.camera_net import CameraNet

        image = source.image
        net = CameraNet(source, as_uint8=image.as_uint8).eval()
        kind = torch.uint8 if image.as_uint8 else torch.float32
        sample = torch.zeros((1, image.side, image.side, len(image.mean)), dtype=kind)
        module: Any = net
        if precision == "int8":
            assert calibration is not None
            each = [torch.from_numpy(as_input(calibration[i : i + 1], image.dtype)) for i in range(len(calibration))]
            with quiet():
                module = _quantised(torch.export.export(net, (sample,)).module(), each)
        atomic_write(file, lowered(module, sample))
        return [file]

    def runner(self, file: Path, image: ImageInput) -> Runner:
        """Implement `Format.runner`."""
        import torch

        program = opened(file.read_bytes())

        def run(images: Images) -> Logits:
            method, logits = program.load_method("forward"), []
            for start in range(len(images)):
                given = torch.from_numpy(as_input(images[start : start + 1], image.dtype))
                logits.append(method.execute([given])[0].numpy().copy())
            return np.concatenate(logits)

        return run


def lowered(module: Any, sample: Tensor) -> bytes:
    """The program of a module that takes one tensor, of the shape and memory format of the sample."""
    import torch

    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program = torch.export.export(module, (sample,))
        return bytes(to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer)


def opened(content: bytes) -> Any:
    """A program that runs on one thread; it has the method `forward`, whose memory it owns, and must be kept for."""
    with quiet():
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        if portable_lib._threadpool_get_thread_count() != 1:  # it may not be changed under programs that are open
            portable_lib._unsafe_reset_threadpool(1)
        program = Runtime.get().load_program(content)
        program.load_method("forward")
    return program


def _quantised(module: Any, calibration: list[Tensor]) -> Any:
    """The module with rounded weights and activations, by the ranges of the calibration images."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    prepared = prepare_pt2e(module, XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True)))
    for image in calibration:
        prepared(image)
    return convert_pt2e(prepared)
