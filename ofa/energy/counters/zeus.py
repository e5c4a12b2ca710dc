"""Counters through the package `zeus` (the extra `zeus`; ml-energy/zeus, Apache-2.0), imported when it is asked for.

It reads what our own counters do not: AMD GPUs, Apple and Jetson systems on a chip, and RAPL without root through its
service `zeusd`. Its numbers are millijoules.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from ofa.energy.counters.base import Counter, Found
from ofa.errors import UserError

ADVICE = "--energy zeus needs the package zeus: pip install 'ofa-energy[zeus]'"


@dataclass
class ZeusCounter:
    """One part of a machine that zeus reads."""

    name: str
    millijoules: Callable[[], float]
    range_j: float | None = None

    def read(self) -> float:
        """Joules since an arbitrary moment."""
        return float(_tried(self.millijoules)) * 1e-3


def find(device: str, processor: bool = True) -> tuple[Found, Found]:
    """The counters of a device by torch's name for it, and those beside a GPU: of the processor, if `processor`.

    Raises:
        UserError: zeus is not installed.
    """
    try:
        with redirect_stdout(sys.stderr):  # a library that it looks for may print; standard output belongs to `--json`
            zeus = importlib.import_module("zeus.device")
    except ImportError:
        raise UserError(ADVICE) from None
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return _processor(zeus) if processor else Found(), Found()
    try:
        gpus = _tried(zeus.get_gpus)
        place = int(index or 0)  # zeus numbers the GPUs of CUDA_VISIBLE_DEVICES, as torch does
        name = f"zeus {_tried(lambda: gpus.get_name(place))}"
        gpu: Counter = ZeusCounter(name, lambda: gpus.get_total_energy_consumption(place))
        gpu.read()
    except OSError as error:
        return Found(missing=(str(error),)), Found()
    return Found((gpu,)), _processor(zeus) if processor else Found()


def _processor(zeus: Any) -> Found:
    """Processor packages and their memory; on a system on a chip, the whole chip."""
    try:
        cpus = _tried(zeus.get_cpus)
        packages = [_package(cpus, i) for i in range(len(cpus))]
    except OSError as error:
        chip = _chip(zeus)
        return chip if chip.counters else Found(missing=(str(error), *chip.missing))
    return Found(tuple(packages)) if packages else Found(missing=("zeus: it finds no processor",))


def _package(cpus: Any, index: int) -> Counter:
    def millijoules() -> float:
        found = cpus.get_total_energy_consumption(index)
        return float(found.cpu_mj + (found.dram_mj or 0.0))

    counter = ZeusCounter(f"zeus package-{index} and memory", millijoules)
    counter.read()
    return counter


def _chip(zeus: Any) -> Found:
    """The total of a Jetson's chip, or of an Apple one: processor, GPU, memory and neural engine."""

    def millijoules() -> float:
        found = zeus.get_soc().get_total_energy_consumption()
        total = getattr(found, "total_energy_mj", None)
        if total is not None:
            return float(total)
        parts = [getattr(found, name, None) for name in ("cpu_total_mj", "dram_mj", "gpu_mj", "gpu_sram_mj", "ane_mj")]
        if parts[0] is None:
            raise ValueError("it gives no total of the chip")
        return float(sum(part for part in parts if part is not None))

    counter = ZeusCounter("zeus system on a chip", millijoules)
    try:
        counter.read()
    except OSError as error:
        return Found(missing=(str(error),))
    return Found((counter,))


def _tried(function: Callable[[], Any]) -> Any:
    """The result of a call of zeus; raises `OSError` for whatever it raises: its errors have no common class."""
    try:
        return function()
    except Exception as error:
        raise OSError(f"zeus: {' '.join(str(error).split()) or type(error).__name__}") from None
