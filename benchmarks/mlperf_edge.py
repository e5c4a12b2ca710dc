"""Platforms fitted to MLPerf's edge power runs of whole networks, at the mains.

Krai's open and closed submissions of 2022 measure MobileNets, EfficientNet-lites and ResNet50 on small boards, ten minutes
each, with a certified analyser; the files list the networks' operations. Fitted by `ofa calibrate --operations`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from latency_tables import Platform
from latency_tables.calibration.calibrate import Subject
from latency_tables.calibration.operations import calibrate_operations
from latency_tables.calibration.operations_csv import load_networks

SOURCE = (
    "MLPerf Inference v2.0 (2022), power runs of Krai's edge submissions, SingleStream, ten minutes a network: mean power "
    "of SPEC PTDaemon at the mains, mean latency (github.com/mlcommons/inference_results_v2.0 at 425a0d3); operations from "
    "the published architectures"
)
THREADS = "not stated; speed and power say all cores"
LOADING = "image loading is not in the latency, but the mean power is of the whole run"


CPUS = {
    "raspi4-tflite": ("Raspberry Pi 4, 1.8 GHz, 8 GB, passive cooling, CPU", "raspberry-pi-4", "TFLite 2.7.1 ruy"),
    "odroid-n2": ("Odroid N2+, S922X (4x Cortex-A73, 2x A53), CPU", "odroid-n2plus", "TFLite 2.7.1 ruy"),
    "xavier-cpu": ("NVIDIA Jetson AGX Xavier, 8x Carmel CPU, nvpmodel 0", "jetson-agx-xavier-cpu", "TFLite 2.7.1"),
}
MALI = ("Odroid N2+, S922X, Mali-G52 GPU", "odroid-n2plus", "ArmNN 21.11 opencl")
BOARDS = {
    **{name: (*row, "fp32") for name, row in CPUS.items()},
    **{f"{name}-int8": (*row, "int8") for name, row in CPUS.items()},
    "odroid-n2-mali": (*MALI, "fp32"),
}
"""By name of the platform: the device in words, and the device, runtime and precision of its rows."""


def platform(reference: Path, name: str) -> Platform:
    """A board's platform, with the errors on networks and on families left out."""
    device, row, runtime, precision = BOARDS[name]
    folder = reference / "energy" / "measured"
    files = (folder / "mlperf_edge_cpu_networks.csv", folder / "mlperf_networks_operations.csv")
    networks, setup = load_networks(*files, {"device": row, "runtime": runtime, "precision": precision})
    assert setup.precision is not None
    subject = Subject(
        name=name,
        device=device,
        runtime=runtime.replace("TFLite", "TensorFlow Lite"),
        source=SOURCE,
        precision=setup.precision,
        licence="Apache-2.0 (the results); fitted coefficients only",
    )
    fitted = calibrate_operations(networks, subject)
    assert fitted.energy is not None
    families = ", ".join(sorted({network.family for network in networks}))
    return replace(
        fitted,
        description="Models of operations, of latency and of energy, fitted to whole networks "
        f"({families}) at 96 to 300 px; smaller images are extrapolation.",
        details=fitted.details | {"threads": THREADS, "what is metered": LOADING},
        energy=replace(fitted.energy, boundary="mains"),
    )


def platforms(reference: Path) -> list[Platform]:
    """All of them."""
    return [platform(reference, name) for name in BOARDS]
