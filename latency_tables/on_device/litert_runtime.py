"""LiteRT (TensorFlow Lite) on the CPU. Kits hold a copy: only standard library, numpy and ai_edge_litert, Python 3.9."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import numpy as np

from latency_tables.on_device.timing import Call, Item, Timed, clocked, repeated


class LitertRuntime:
    """Runs .tflite files with one input and one output, channels last, on the runtime's default kernels (XNNPACK).

    Only inference is timed (`Interpreter.invoke`). Between the blocks of a chain, the feature maps are copied from one
    interpreter to the next, which leaves them in the caches as in a network. One thread: every interpreter has its own
    threads, and those of the blocks before would spin beside the one that is timed.
    """

    def __init__(self, load: Callable[[Item], bytes], threads: int | None, seed: int) -> None:
        """`load` returns the file of an item. `ValueError` where ai-edge-litert is missing, or for several threads."""
        try:
            from ai_edge_litert import interpreter
        except ImportError:
            raise ValueError(
                "the package ai-edge-litert is not installed; install it with: pip install ai-edge-litert"
            ) from None
        if threads not in (None, 1):
            raise ValueError(f"threads is {threads}; LiteRT is measured on one thread: blocks do not share their threads")
        self._interpreter: Any = interpreter.Interpreter
        self._load = load
        self.threads = 1
        self._rng = np.random.default_rng(seed)

    @staticmethod
    def file_of(item: Item) -> str:
        """Name of an item's file in a kit."""
        return f"{item.model}@{item.size}.tflite"

    @property
    def name(self) -> str:
        """Name and version."""
        return f"LiteRT {metadata.version('ai-edge-litert')}, XNNPACK"

    def open(self, item: Item) -> Call:
        """A function from feature maps to feature maps."""
        content = self._load(item)
        with _one_line(), _no_remarks():
            interpreter = self._interpreter(model_content=content, num_threads=self.threads)
            interpreter.allocate_tensors()
        return _Opened(interpreter)

    def feed(self, item: Item, batch: int) -> Any:
        """Random feature maps."""
        return self._rng.standard_normal((batch, item.size, item.size, item.channels), dtype=np.float32)

    def time(self, calls: Sequence[Call], x: Any, runs: int) -> Timed:
        """Time calls; see `Runtime.time`."""
        steps = [step for call in calls for step in (call.take, call.infer, call.give)]  # type: ignore[attr-defined]
        with _one_line():
            timed = clocked(steps, x, runs)
        return timed._replace(times_ms=timed.times_ms[1::3])

    def repeat(self, call: Call, x: Any, seconds: float) -> None:
        """Repeat a call; see `Runtime.repeat`."""
        with _one_line():
            call.take(x)  # type: ignore[attr-defined]
            repeated(call.infer, None, seconds)  # type: ignore[attr-defined]


class _Opened:
    """An interpreter; a call is `take`, `infer` and `give`."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        given = interpreter.get_input_details()[0]
        self._input, self._kind = given["index"], np.dtype(given["dtype"])
        self._output = interpreter.get_output_details()[0]["index"]

    def take(self, x: Any) -> None:
        """Copy feature maps into the interpreter; for a whole network, as pixels."""
        if self._kind == np.uint8:
            x = np.minimum(np.abs(x) * 50, 255).astype(np.uint8)
        self._interpreter.set_tensor(self._input, x)

    def infer(self, _: Any) -> None:
        """Run it on what it has taken."""
        self._interpreter.invoke()

    def give(self, _: Any) -> Any:
        """A copy of its output."""
        return self._interpreter.get_tensor(self._output)

    def __call__(self, x: Any) -> Any:
        """All three."""
        self.take(x)
        self.infer(None)
        return self.give(None)


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn an error of the interpreter into a `ValueError` of one line."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"LiteRT: {str(error).splitlines()[0][:200]}") from None


@contextmanager
def _no_remarks() -> Iterator[None]:
    """Drop what the library remarks on standard error, from C++: which kernels it chose."""
    copy, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(copy, 2)
        os.close(copy)
        os.close(nowhere)
