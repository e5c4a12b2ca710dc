"""ONNX Runtime on the CPU. Kits hold a copy: only standard library, numpy and onnxruntime, Python 3.9."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.on_device.timing import Call, Item, Timed, clocked, repeated


class OrtRuntime:
    """Runs ONNX graphs with the input `x`, float32[batch, channels, height, width], and the output `y`.

    With all optimisations of the runtime and sequential execution. With several threads, all graphs of a chain share one
    thread pool: if each had its own, the idle pools would spin and slow down the working one.
    """

    def __init__(self, load: Callable[[Item], bytes], threads: int | None, seed: int) -> None:
        """`load` returns an item's graph; `threads` None: one per processor.

        `ValueError` where onnxruntime is missing, or too old for several threads.
        """
        try:
            import onnxruntime
        except ImportError:
            raise ValueError("the package onnxruntime is not installed; install it with: pip install onnxruntime") from None
        self._ort: Any = onnxruntime
        self._load = load
        self.threads = threads = threads or usable_processors()
        self._rng = np.random.default_rng(seed)
        if threads > 1:
            if not hasattr(onnxruntime, "set_global_thread_pool_sizes"):
                version = onnxruntime.__version__
                raise ValueError(f"onnxruntime is {version}; several threads need 1.22 or newer (or give --threads 1)")
            try:
                onnxruntime.set_global_thread_pool_sizes(threads, 1)
            except RuntimeError as error:
                raise ValueError(f"onnxruntime runs in this process with another number of threads: {error}") from None

    @staticmethod
    def file_of(item: Item) -> str:
        """Name of an item's file in a kit: items of one model share it."""
        return f"{item.model}.onnx"

    @property
    def name(self) -> str:
        """Name and version."""
        return f"ONNX Runtime {self._ort.__version__}"

    def open(self, item: Item) -> Call:
        """A function from one `OrtValue` to another."""
        options = self._ort.SessionOptions()
        options.execution_mode = self._ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = self._ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        if self.threads > 1:
            options.use_per_session_threads = False
        else:
            options.intra_op_num_threads = 1
            options.inter_op_num_threads = 1
        for side in ("height", "width"):
            options.add_free_dimension_override_by_name(side, item.size)
        with _one_line():
            session = self._ort.InferenceSession(self._load(item), options, providers=["CPUExecutionProvider"])
        return _BoundSession(session)

    def feed(self, item: Item, batch: int) -> Any:
        """Random feature maps."""
        shape = (batch, item.channels, item.size, item.size)
        return self._ort.OrtValue.ortvalue_from_numpy(self._rng.standard_normal(shape, dtype=np.float32))

    def time(self, calls: Sequence[Call], x: Any, runs: int) -> Timed:
        """Time calls; see `Runtime.time`. A call returns when its work is done."""
        with _one_line():
            return clocked(calls, x, runs)

    def repeat(self, call: Call, x: Any, seconds: float) -> None:
        """Repeat a call; see `Runtime.repeat`."""
        with _one_line():
            repeated(call, x, seconds)


class _BoundSession:
    """Runs a session on an `OrtValue`. Input and output are bound once: a call costs 3 us (`run_with_ort_values`: 50 us)."""

    def __init__(self, session: Any) -> None:
        self._run = session.run_with_iobinding
        self._binding = session.io_binding()
        self._x = self._y = None

    def __call__(self, x: Any) -> Any:
        """The output, always the same `OrtValue` for the same input."""
        if x is self._x:
            self._run(self._binding)
            return self._y
        self._binding.bind_ortvalue_input("x", x)
        self._binding.bind_output("y", "cpu")
        self._run(self._binding)
        self._x, self._y = x, self._binding.get_outputs()[0]
        self._binding.bind_ortvalue_output("y", self._y)
        return self._y


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn any error of ONNX Runtime (its classes differ between versions) into a `ValueError` of one line."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ValueError(f"ONNX Runtime: {str(error).splitlines()[0][:200]}") from None


def machine() -> dict[str, str]:
    """Facts of this machine."""
    return {
        "processor": processor(),
        "processors visible": str(os.cpu_count()),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def usable_processors() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name; on a board without one, the board's."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
