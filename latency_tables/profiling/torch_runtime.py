"""Eager PyTorch, on the CPU or on a CUDA device. Torch is imported when a runtime is made."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from latency_tables.on_device.timing import REPEATS, Call, Item, Timed, clocked, repeated
from ofa.errors import UserError
from ofa.space.shapes import BlockShape


class TorchRuntime:
    """Runs blocks as the plain modules of `ofa.nets.plain`, in inference mode: batch norm is not folded.

    On CUDA, an event is recorded before and after each call, and the device is synchronised after each run. A time is that
    between two events on the device, including the time it waits for launches.
    """

    def __init__(
        self,
        models: Mapping[str, tuple[BlockShape, ...]],
        device: str,
        threads: int | None,
        channels_last: bool,
        seed: int,
    ) -> None:
        """`models` holds the blocks of each model; `threads` is the number of CPU threads, torch's default if None."""
        import torch

        from ofa.distributed.devices import choose_device

        self._torch: Any = torch
        self._models = models
        self.device = choose_device(device)
        if self.device.type not in ("cpu", "cuda"):
            raise UserError(f"--device {device}: only cpu and cuda are timed")
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._generator = torch.Generator().manual_seed(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        self.threads: int = torch.get_num_threads()

    @property
    def name(self) -> str:
        """Name and version."""
        return f"PyTorch {self._torch.__version__} eager, inference mode"

    @property
    def accelerator(self) -> str | None:
        """The name of the CUDA device; None on the CPU."""
        return str(self._torch.cuda.get_device_name(self.device)) if self.device.type == "cuda" else None

    def open(self, item: Item) -> Call:
        """A function from one tensor to another."""
        from ofa.nets.plain import build_block

        blocks = (build_block(shape, self._generator) for shape in self._models[item.model])
        module = self._torch.nn.Sequential(*blocks).eval().to(device=self.device, memory_format=self._layout)
        call: Call = module[0] if len(module) == 1 else module
        return call

    def feed(self, item: Item, batch: int) -> Any:
        """Random feature maps."""
        x = self._torch.randn(batch, item.channels, item.size, item.size, generator=self._generator)
        return x.to(device=self.device, memory_format=self._layout)

    def time(self, calls: Sequence[Call], x: Any, runs: int) -> Timed:
        """Time calls; see `Runtime.time`."""
        with self._torch.inference_mode():
            return clocked(calls, x, runs) if self.device.type == "cpu" else self._by_events(calls, x, runs)

    def repeat(self, call: Call, x: Any, seconds: float) -> None:
        """Repeat a call; see `Runtime.repeat`."""
        with self._torch.inference_mode():
            if self.device.type == "cpu":
                repeated(call, x, seconds)
            else:
                self._without_a_pause(call, x, seconds)

    def _without_a_pause(self, call: Call, x: Any, seconds: float) -> None:
        """Repeat a call on CUDA, queueing calls before the last ones have finished, so that the device never waits."""
        cuda = self._torch.cuda
        with cuda.device(self.device):
            end_s = time.monotonic() + seconds
            before = None
            while time.monotonic() < end_s:
                for _ in range(REPEATS):
                    call(x)
                done = cuda.Event()
                done.record()
                if before is not None:
                    before.synchronize()
                before = done
            cuda.synchronize()

    def _by_events(self, calls: Sequence[Call], x: Any, runs: int) -> Timed:
        cuda = self._torch.cuda
        times_ms: list[list[float]] = [[] for _ in calls]
        with cuda.device(self.device):
            events = [cuda.Event(enable_timing=True) for _ in range(len(calls) + 1)]
            for _ in range(runs):
                cuda.synchronize()
                y = x
                events[0].record()
                for call, event in zip(calls, events[1:], strict=True):
                    y = call(y)
                    event.record()
                cuda.synchronize()
                for times, start, end in zip(times_ms, events, events[1:], strict=False):
                    times.append(start.elapsed_time(end))
        return Timed(times_ms, [1.0] * runs, 0)  # no reference: other processes do not share the device
