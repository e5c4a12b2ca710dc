"""NVML: the energy counter of an NVIDIA GPU (Volta and later), in millijoules since its driver was loaded.

It is read through the package `nvidia-ml-py` (the extra `gpu`), imported when a GPU is measured. GPUs are found by UUID,
because `CUDA_VISIBLE_DEVICES` renumbers them: each process reads its own, and no idle neighbour's.
"""

from __future__ import annotations

import importlib
from typing import Any

from ofa.energy.counters.base import Found


class NvmlCounter:
    """The energy counter of one NVIDIA GPU."""

    range_j: float | None = None

    def __init__(self, device: str) -> None:
        """`device` is torch's name, such as `cuda` or `cuda:1`. Raises `OSError` naming what is missing."""
        try:
            self._nvml: Any = importlib.import_module("pynvml")
        except ImportError:
            raise OSError("NVML needs the package nvidia-ml-py, which is not installed") from None
        try:
            import torch

            index = int(device.partition(":")[2] or torch.cuda.current_device())
            properties = torch.cuda.get_device_properties(index)
            self._nvml.nvmlInit()
            self._handle = self._nvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
            shared = self._is_sliced()
        except (self._nvml.NVMLError, RuntimeError, AssertionError, AttributeError, ValueError) as error:
            raise OSError(f"NVML: {error}") from None
        if shared:  # the counter is that of the whole card: our slice's energy is unknown
            raise OSError(
                f"NVML: {properties.name} is divided into MIG slices, and counts the energy of all of them together"
            )
        self.name = f"NVML {properties.name}"
        self.read()

    def read(self) -> float:
        """Joules since the driver was loaded."""
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) * 1e-3
        except self._nvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from None

    def _is_sliced(self) -> bool:
        """True if the card is in MIG mode; cards that do not know it raise."""
        try:
            return bool(self._nvml.nvmlDeviceGetMigMode(self._handle)[0])
        except (self._nvml.NVMLError, AttributeError):
            return False


def identity(device: str) -> tuple[str, str]:
    """UUID and name of a GPU, by torch's name for it; raises `OSError` where torch does not find it."""
    try:
        import torch

        properties = torch.cuda.get_device_properties(int(device.partition(":")[2] or torch.cuda.current_device()))
        return f"GPU-{properties.uuid}", properties.name
    except (ImportError, RuntimeError, AssertionError, AttributeError, ValueError) as error:
        raise OSError(f"torch: {error}") from None


def find(device: str) -> Found:
    """The counter of one GPU, by torch's name for it."""
    try:
        return Found((NvmlCounter(device),))
    except OSError as error:
        return Found(missing=(str(error),))
