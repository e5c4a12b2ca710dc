"""TensorFlow Lite for Microcontrollers: the int8 file of LiteRT as a C array, with just the operations that it uses."""

from __future__ import annotations

import re
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ofa.deploy.formats.format import Deployable, Images, Logits, Precision, Runner, as_input
from ofa.deploy.formats.litert_format import LitertFormat
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.deploy.formats.quiet import quiet
from ofa.errors import UserError
from ofa.files.atomic import atomic_write

MOST_ARENA = 2**28
BYTES_A_LINE = 16
ALIGNMENT = 16


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
        atomic_write(resolver, _resolver(_operations(content), arena, len(source.image.mean), source.image.side))
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

    Raises:
        UserError: no arena of up to 256 MiB is enough.
    """
    low, high = 0, 4096
    while not _fits(content, high):
        low, high = high, high * 2
        if high > MOST_ARENA:
            raise UserError("format tflm: the network needs an arena of more than 256 MiB")
    while high - low > ALIGNMENT:
        middle = (low + high) // 2 // ALIGNMENT * ALIGNMENT
        low, high = (low, middle) if _fits(content, middle) else (middle, high)
    return high


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


def _operations(content: bytes) -> list[str]:
    """The operations of a model, by their names in the schema, each once."""
    with quiet():
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        interpreter = Interpreter(
            model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        return sorted({op["op_name"] for op in interpreter._get_ops_details()})


def _c_array(content: bytes) -> str:
    lines = [content[i : i + BYTES_A_LINE] for i in range(0, len(content), BYTES_A_LINE)]
    body = "\n".join("  " + ", ".join(f"0x{byte:02x}" for byte in line) + "," for line in lines)
    return (
        "// The network, made by `ofa export`. Aligned, because the interpreter reads it in place.\n"
        "extern const unsigned char subnet[];\nextern const unsigned int subnet_len;\n"
        f"alignas(16) const unsigned char subnet[] = {{\n{body}\n}};\nconst unsigned int subnet_len = {len(content)};\n"
    )


def _resolver(operations: list[str], arena: int, channels: int, side: int) -> str:
    adds = "\n".join(f"  resolver.Add{_camel(name)}();" for name in operations)
    return f"""// Just the operations that the network uses, made by `ofa export`.
#pragma once
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

constexpr int kSide = {side};          // of the square image, in pixels
constexpr int kChannels = {channels};
constexpr int kArenaBytes = {arena};   // the smallest that works in a 64-bit build; add what your kernels need for scratch
constexpr int kOperations = {len(operations)};

inline void AddOperations(tflite::MicroMutableOpResolver<kOperations>& resolver) {{
{adds}
}}
"""


def _camel(name: str) -> str:
    """`DEPTHWISE_CONV_2D` as the resolver's methods have it: `DepthwiseConv2D`."""
    return "".join(word if word == "2D" else word.capitalize() for word in name.split("_"))
