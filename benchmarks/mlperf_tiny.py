"""Microcontrollers from their published MLPerf Tiny results: latency and energy of four known networks, int8, batch 1.

The shapes are ours, after the benchmark's description (Banbury et al., NeurIPS Datasets and Benchmarks, 2021); the published
multiply-accumulates of its models are those in `MACS`. Two of the networks have maps that are not square, which our spaces
never have, so the shapes here are those of executed operations (`FusedOp`), not of blocks.

Four networks tell few terms. The STM32 get one (time per MAC); how much dearer a MAC of a depthwise or a linear layer is, is
assumed for all three: `ad`, linear only, takes 1.42 to 1.51 times what `ic`, dense convolutions, takes per MAC; of depthwise
layers the networks say between 1.1 and 1.9. GAP9's accelerator needs three. Energy is power x time.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from latency_tables import Platform
from latency_tables.blocks.fused_ops import OP_KINDS, FusedOp
from latency_tables.blocks.memory_rules import MemoryRule
from latency_tables.cost_models.op_model import EnergyModel, LatencyModel, OpTime
from latency_tables.cost_models.uncertainty import compare

MACS = {"ad": 264_192, "ic": 12_501_632, "kws": 2_656_768, "vww": 7_489_664}
"""Of the reference models: anomaly detection, image classification, keyword spotting, visual wake words."""
NAMES = {
    "anomaly_detection": "ad",
    "image_classification": "ic",
    "keyword_spotting": "kws",
    "visual_wake_words": "vww",
}
DEARER = 1.5
"""A MAC of a depthwise or a linear layer over one of a convolution, on a Cortex-M; see above."""
ACCELERATED = ("gap9", "silabs-xg24", "stm32-l4r5-tflm")
"""Devices fitted with three terms."""


@dataclass(frozen=True)
class Device:
    """A system of the benchmark's results, and what its datasheet says."""

    name: str
    device: str
    round: str
    system: str
    runtime: str
    memory: str
    datasheet: str
    rule: MemoryRule
    inferences_per_s: tuple[float, ...] = ()
    """Of the four networks in the order of `MACS`, where the reference data lack the system; likewise `uj`."""
    uj: tuple[float, ...] = ()


CUBE_AI = MemoryRule(
    rule="lifetimes",
    source="assumed: STM32Cube.AI plans activations in advance and lets operations overwrite their input; not compared",
)
TFLM = MemoryRule(
    rule="tflm",
    source="checked in the interpreter, with reference kernels (benchmarks/microcontroller_memory.py)",
)

DEVICES = (
    Device(
        "stm32-l4r5",
        "STM32L4R5ZI, Arm Cortex-M4 at 120 MHz",
        "1.2",
        "NUCLEO_L4R5ZI",
        "STM32Cube.AI, as submitted by STMicroelectronics",
        "640 kB SRAM, 2 MB flash",
        "ST DS12023",
        CUBE_AI,
    ),
    Device(
        "stm32-h7a3",
        "STM32H7A3ZI, Arm Cortex-M7 at 280 MHz",
        "1.2",
        "NUCLEO_H7A3ZI_Q",
        "STM32Cube.AI, as submitted by STMicroelectronics",
        "1.4 MB RAM (1,184 kB SRAM besides 192 kB tightly coupled), 2 MB flash",
        "ST DS13195",
        CUBE_AI,
    ),
    Device(
        "stm32-u575",
        "STM32U575ZI, Arm Cortex-M33 at 160 MHz",
        "1.2",
        "NUCLEO_U575ZI_Q",
        "STM32Cube.AI, as submitted by STMicroelectronics",
        "786 kB SRAM, 2 MB flash",
        "ST DS13737",
        CUBE_AI,
    ),
    Device(
        "gap9",
        "GreenWaves GAP9, nine RISC-V cores and an accelerator, 240 MHz at 0.65 V",
        "1.0",
        "gap9_650_240",
        "GreenWaves' tools, as submitted",
        "1.6 MB RAM",
        "Linley Newsletter, 14 January 2020",
        MemoryRule(
            rule="lifetimes",
            source="assumed, an upper bound: GreenWaves' tools also cut maps into tiles; not compared",
        ),
    ),
    Device(
        "stm32-l4r5-tflm",
        "STM32L4R5ZI, Arm Cortex-M4 at 120 MHz",
        "0.5",
        "Nucleo-L4R5ZI",
        "TensorFlow Lite Micro 2.3.1, the benchmark's reference",
        "640 kB SRAM, 2 MB flash",
        "ST DS12023",
        TFLM,
        (99.487, 1.420, 5.497, 1.665),
        (416.312, 29207.010, 7373.704, 24312.648),
    ),
    Device(
        "silabs-xg24",
        "Silicon Labs EFR32MG24, Arm Cortex-M33 and MVP accelerator at 78 MHz",
        "1.0",
        "silicon_labs_xG24_DK2601B",
        "TensorFlow Lite Micro, as submitted by Silicon Labs",
        "256 kB SRAM, 1.5 MB flash",
        "system description of the submission",
        TFLM,
    ),
)


# -- the four networks -----------------------------------------------------------------------------------------------------


def networks() -> dict[str, list[FusedOp]]:
    """The executed operations of the four networks."""
    return {"ad": _autoencoder(), "ic": _resnet8(), "kws": _ds_cnn(), "vww": _mobilenet()}


Size = tuple[int, int]
"""Height and width of a map, or of a kernel."""


def _conv(size: Size, channels: int, width: int, kernel: Size, stride: int, groups: int = 1) -> FusedOp:
    height, across = _out(size, stride)
    weights = kernel[0] * kernel[1] * channels // groups * width
    outputs = height * across * width
    kind = "depthwise" if groups > 1 else "conv_1x1" if kernel == (1, 1) else "conv_kxk"
    return FusedOp(kind, weights * height * across, weights + width, size[0] * size[1] * channels + outputs, outputs)


def _out(size: Size, stride: int) -> Size:
    return -(-size[0] // stride), -(-size[1] // stride)


def _linear(inputs: int, outputs: int) -> FusedOp:
    return FusedOp("linear", inputs * outputs, inputs * outputs + outputs, inputs + outputs, outputs)


def _pool(size: Size, channels: int) -> FusedOp:
    return FusedOp("pool", 0, 0, (size[0] * size[1] + 1) * channels, channels)


def _autoencoder() -> list[FusedOp]:
    widths = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)
    return [_linear(inputs, outputs) for inputs, outputs in pairwise(widths)]


def _resnet8() -> list[FusedOp]:
    size, channels = (32, 32), 16
    ops = [_conv(size, 3, channels, (3, 3), 1)]
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        ops.append(_conv(size, channels, width, (3, 3), stride))
        if stride > 1:
            ops.append(_conv(size, channels, width, (1, 1), stride))
        size = _out(size, stride)
        last = _conv(size, width, width, (3, 3), 1)  # with the residual sum, which reads the other branch
        ops.append(FusedOp(last.kind, last.macs, last.weights, last.activations + last.outputs, last.outputs))
        channels = width
    return [*ops, _pool(size, channels), _linear(channels, 10)]


def _ds_cnn() -> list[FusedOp]:
    ops = [_conv((49, 10), 1, 64, (10, 4), 2)]
    size = _out((49, 10), 2)
    for _ in range(4):
        ops += [_conv(size, 64, 64, (3, 3), 1, groups=64), _conv(size, 64, 64, (1, 1), 1)]
    return [*ops, _pool(size, 64), _linear(64, 12)]


def _mobilenet() -> list[FusedOp]:
    """MobileNetV1 of width 0.25."""
    ops = [_conv((96, 96), 3, 8, (3, 3), 2)]
    size, channels = (48, 48), 8
    widths = {16: (1,), 32: (2, 1), 64: (2, 1), 128: (2, 1, 1, 1, 1, 1), 256: (2, 1)}
    for width, stride in ((width, stride) for width, strides in widths.items() for stride in strides):
        ops.append(_conv(size, channels, channels, (3, 3), stride, groups=channels))
        size = _out(size, stride)
        ops.append(_conv(size, channels, width, (1, 1), 1))
        channels = width
    return [*ops, _pool(size, channels), _linear(channels, 2)]


# -- fits ------------------------------------------------------------------------------------------------------------------


def platforms(reference: Path) -> list[Platform]:
    """The microcontrollers, fitted."""
    return [_platform(reference, device) for device in DEVICES]


def measured(reference: Path, device: Device) -> tuple[np.ndarray, np.ndarray]:
    """Latency in ms and energy in mJ of the four networks, in the order of `MACS`."""
    if device.uj:
        return 1e3 / np.array(device.inferences_per_s), np.array(device.uj) * 1e-3
    found: dict[str, tuple[float, float]] = {}
    with open(reference / "energy" / "mlperf_tiny_uj_per_inference.csv", newline="") as file:
        for row in csv.DictReader(file):
            if (row["round"], row["system"]) == (device.round, device.system):
                name = NAMES.get(row["task"], row["task"])
                found[name] = 1e3 / float(row["throughput_inf_s"]), float(row["energy_uJ_per_inf"]) * 1e-3
    latency_ms, energy_mj = np.array([found[name] for name in MACS]).T
    return latency_ms, energy_mj


def _terms(ops: Iterable[FusedOp], device: Device) -> list[float]:
    """What a device's coefficients multiply: millions of MACs, or those of depthwise apart and the number of operations."""
    ops = list(ops)
    mmacs = {kind: sum(op.macs for op in ops if op.kind == kind) * 1e-6 for kind in OP_KINDS}
    dense = mmacs["conv_1x1"] + mmacs["conv_kxk"]
    if device.name in ACCELERATED:
        return [dense + mmacs["linear"], mmacs["depthwise"], len(ops)]
    return [dense + DEARER * (mmacs["depthwise"] + mmacs["linear"])]


def _fit(terms: np.ndarray, latency_ms: np.ndarray) -> np.ndarray:
    """Non-negative least squares of relative errors."""
    unit = terms.max(axis=0)
    weights, _ = nnls(terms / unit / latency_ms[:, None], np.ones(len(terms)))
    return np.asarray(weights / unit)


def _model(weights: np.ndarray, device: Device) -> LatencyModel:
    digits = [float(f"{weight:.4g}") for weight in weights]
    if device.name in ACCELERATED:
        rest = OpTime(overhead_ms=digits[2])
        dense, depthwise = (OpTime(ms_per_mmac=rate, overhead_ms=digits[2]) for rate in digits[:2])
        linear = dense
    else:
        rest, dense = OpTime(), OpTime(ms_per_mmac=digits[0])
        depthwise = linear = OpTime(ms_per_mmac=float(f"{DEARER * digits[0]:.4g}"))
    ops = {"default": dense, "depthwise": depthwise, "linear": linear, "pool": rest, "elementwise": rest}
    return LatencyModel(ops=ops, seen=_seen())


def _seen() -> dict[str, tuple[float, ...]]:
    """Without elementwise operations, which these networks have only inside convolutions."""
    sizes: dict[str, list[int]] = {}
    for op in (op for ops in networks().values() for op in ops):
        sizes.setdefault(op.kind, []).append(op.activations)
    return {kind: (float(min(found)), float(max(found))) for kind, found in sorted(sizes.items())}


def _platform(reference: Path, device: Device) -> Platform:
    latency_ms, energy_mj = measured(reference, device)
    terms = np.array([_terms(ops, device) for ops in networks().values()])
    power_w = energy_mj / latency_ms
    left_out = [np.arange(len(terms)) != i for i in range(len(terms))]
    predicted = np.array([terms[i] @ _fit(terms[kept], latency_ms[kept]) for i, kept in enumerate(left_out)])
    energy = predicted * np.array([power_w[kept].mean() for kept in left_out])
    weights = _fit(terms, latency_ms)
    how = "the rate" if terms.shape[1] == 1 else "the three terms"
    note = (
        f"MLPerf Tiny's four networks, each predicted with {how} fitted to the other three; fitted to all four, each is met "
        f"within {np.abs(terms @ weights / latency_ms - 1).max():.0%}"
    )
    return Platform(
        name=device.name,
        device=device.device,
        runtime=device.runtime,
        precision="int8",
        numerics="int8",
        kind="modelled",
        description=_description(terms.shape[1]),
        source=f"MLPerf Tiny v{device.round}, closed division, {device.system} "
        f"(github.com/mlcommons/tiny_results_v{device.round}): throughput and energy per inference of anomaly detection, "
        "image classification, keyword spotting and visual wake words",
        licence="Apache-2.0 (the results)",
        memory=device.rule,
        details={"memory": f"{device.memory} ({device.datasheet}); compare memory_kb and weights_kb with it"},
        error=compare(predicted, latency_ms, note),
        latency=_model(weights, device),
        energy=EnergyModel(
            source=f"power x time; power: mean of measured energy / latency of the four networks, {1e3 * power_w.min():.3g} "
            f"to {1e3 * power_w.max():.3g} mW",
            power_w=float(f"{power_w.mean():.4g}"),
            boundary="chip",
            error=compare(energy, energy_mj, "as for latency, times the mean power of the other three"),
        ),
    )


def _description(terms: int) -> str:
    if terms == 1:
        return (
            "One rate, of convolutions, fitted to four networks; a MAC of depthwise and linear layers takes "
            f"{DEARER:g} times as long (assumed), pools and sums nothing."
        )
    return (
        "Three terms fitted to four networks: a rate of convolutions and linear layers, one of depthwise, and a time per "
        "operation. They are hardly identified: expect the order of magnitude."
    )
