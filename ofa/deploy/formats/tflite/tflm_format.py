"""TensorFlow Lite for Microcontrollers: the int8 file of LiteRT as a C array, with just the operations that it uses."""

from __future__ import annotations

import re
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ofa.deploy.formats.format import Deployable, Images, Logits, Precision, Runner, as_input
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.deploy.formats.quiet import quiet
from ofa.deploy.formats.tflite.litert_format import LitertFormat
from ofa.deploy.formats.tflite.tflite_file import ALIGNMENT, operations, tensor_count
from ofa.errors import UserError
from ofa.files.atomic import atomic_write

MOST_ARENA = 2**28
BYTES_A_LINE = 16
PLANNING_PER_TENSOR, PLANNING = 80, 2048
"""Bytes that suffice for planning the memory: 40 for a tensor, and 40 if it is planned."""


class TflmFormat:
    """A C++ source of the network, one of the operations it needs, and the skeleton of a program.

    Checked in the real interpreter, with its reference kernels; the size of its arena is measured there, in a 64-bit build:
    32-bit pointers need less. What a vendor's kernels take for scratch is not in it.
    """

    name = "tflm"
    suffix = ".cc"
    extra = "tflm"
    packages = (*LitertFormat.packages, "tflite-micro")
    precisions: tuple[Precision, ...] = ("int8",)
    runs_here = True
    example = None

    def convert(self, source: Deployable, precision: Precision, calibration: Images | None, file: Path) -> list[Path]:
        """Implement `Format.convert`."""
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder, "subnet.tflite")
            LitertFormat().convert(source, precision, calibration, model)
            content = model.read_bytes()
        arena = smallest_arena(content)
        resolver, program = file.with_name("operations.h"), file.with_name("main.cc")
        atomic_write(file, _c_array(content))
        atomic_write(resolver, _resolver(sorted(set(operations(content))), arena, len(source.image.mean), source.image.side))
        atomic_write(program, (resources.files("ofa.deploy") / "examples" / "tflm_main.cc").read_text())
        return [file, resolver, program]

    def runner(self, file: Path, image: ImageInput) -> Runner:
        """Implement `Format.runner`: what the C array holds, in TF-Lite Micro's interpreter."""
        content = bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2})", file.read_text()))
        interpreter = _interpreter(content, smallest_arena(content))
        result = interpreter.get_output_details(0)["quantization_parameters"]
        scale, zero = float(result["scales"][0]), int(result["zero_points"][0])

        def run(images: Images) -> Logits:
            logits = []
            for start in range(len(images)):
                interpreter.set_input(as_input(images[start : start + 1], np.int8), 0)
                interpreter.invoke()
                logits.append((interpreter.get_output(0).astype(np.float32) - zero) * scale)
            return np.concatenate(logits).astype(np.float32)

        return run


def smallest_arena(content: bytes) -> int:
    """Bytes of the smallest arena in which the interpreter can run a model, to its alignment of 16.

    Kernels do not notice an arena that is much too small, and crash: the sizes tried start above what is needed.

    Raises:
        UserError: no arena of up to 256 MiB is enough.
    """
    try:
        head, tail = arena_parts(content)
    except RuntimeError:
        raise UserError("format tflm: the network needs an arena of more than 256 MiB") from None
    planning = PLANNING_PER_TENSOR * tensor_count(content) + PLANNING  # of a moment before the feature maps
    size = -(-(tail + max(head, planning)) // ALIGNMENT) * ALIGNMENT + ALIGNMENT
    while _fits(content, size - ALIGNMENT):
        size -= ALIGNMENT
    return size


def arena_parts(content: bytes) -> tuple[int, int]:
    """Bytes of the arena that feature maps and scratch memory take, and bytes that stay, as the interpreter reports."""
    interpreter = _interpreter(content, MOST_ARENA)
    with tempfile.TemporaryFile() as file:
        with quiet(file.fileno()):
            interpreter.print_allocations()
        file.seek(0)
        report = file.read().decode()
    head, tail = (int(re.findall(rf"Arena allocation {part} (\d+)", report)[-1]) for part in ("head", "tail"))
    return head, tail


def _fits(content: bytes, arena: int) -> bool:
    try:
        _interpreter(content, arena)
    except RuntimeError:
        return False
    return True


def _interpreter(content: bytes, arena: int) -> Any:
    with quiet():
        from tflite_micro.python.tflite_micro import runtime

        return runtime.Interpreter.from_bytes(content, arena_size=arena)


def _c_array(content: bytes) -> str:
    lines = [content[i : i + BYTES_A_LINE] for i in range(0, len(content), BYTES_A_LINE)]
    body = "\n".join("  " + ", ".join(f"0x{byte:02x}" for byte in line) + "," for line in lines)
    return (
        "// The network, made by `ofa export`. Aligned, because the interpreter reads it in place.\n"
        "extern const unsigned char subnet[];\nextern const unsigned int subnet_len;\n"
        f"alignas(16) const unsigned char subnet[] = {{\n{body}\n}};\nconst unsigned int subnet_len = {len(content)};\n"
    )


def _resolver(used: list[str], arena: int, channels: int, side: int) -> str:
    adds = "\n".join(f"  resolver.Add{_camel(name)}();" for name in used)
    return f"""// Just the operations that the network uses, made by `ofa export`.
#pragma once
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

constexpr int kSide = {side};          // of the square image, in pixels
constexpr int kChannels = {channels};
constexpr int kArenaBytes = {arena};   // the smallest that works in a 64-bit build; add what your kernels need for scratch
constexpr int kOperations = {len(used)};

inline void AddOperations(tflite::MicroMutableOpResolver<kOperations>& resolver) {{
{adds}
}}
"""


def _camel(name: str) -> str:
    """`DEPTHWISE_CONV_2D` as the resolver's methods have it: `DepthwiseConv2D`."""
    return "".join(word if word == "2D" else word.capitalize() for word in name.split("_"))
