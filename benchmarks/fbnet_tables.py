"""Platforms fitted to HW-NAS-Bench's per-operation tables of the FBNet space for CIFAR-100 (Li et al., ICLR 2021).

The reference files hold what each operation adds over the skip of its layer, and the all-skip network. The space is FBNet's
(Wu et al., CVPR 2019) at 32 px: 22 layers of inverted residuals; a skip is a 1x1 convolution where shapes change, else
nothing. Operations with grouped 1x1 convolutions are left out: no space here has them.

What the table cannot tell: stem, head and skips are in the all-skip network only, one figure. Skips and the head are
charged as 1x1 convolutions, the stem per MAC in the prior's proportion to them, and what remains of that figure is charged
to every network. The FPGA's figure is 0: its table has operations only. And it has the first 1x1 convolution of the
layers with stride 2 at a quarter of its cost, as if that ran at the output's size; these layers are left out.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from latency_tables import Platform
from latency_tables.calibration.calibrate import TERMS, block_terms, seen, to_model
from latency_tables.calibration.prior import PRIOR
from latency_tables.cost_models.op_model import EnergyModel
from latency_tables.cost_models.uncertainty import ErrorReport, compare
from ofa.space.ops import conv
from ofa.space.shapes import BlockShape, OpShape

WIDTHS, DEPTHS, STRIDES = (16, 24, 32, 64, 112, 184, 352), (1, 4, 4, 4, 4, 4, 1), (1, 1, 2, 2, 1, 2, 1)
STEM, HEAD, CLASSES, SIZE = 16, 1504, 100, 32
OPS = {f"k{kernel}_e{expand}": (kernel, expand) for kernel in (3, 5) for expand in (1, 3, 6)}
RANDOM_NETS = 1000
DESCRIPTION = (
    "A model of operations fitted to the operations of FBNet's space at 32 px. Rates of the stem, the head, pools and sums "
    "are assumed from those; {}."
)
SOURCE = "HW-NAS-Bench's per-operation table of the FBNet space, via HELP (github.com/HayeonLee/HELP at 45f70eb, data/fbnet)"
DEVICES = {
    "raspi4": ("raspi4", "Raspberry Pi 4, CPU", "TensorFlow Lite, as published with HW-NAS-Bench", "fp32", None),
    "pixel3": ("pixel3", "Google Pixel 3, CPU", "TensorFlow Lite, as published with HW-NAS-Bench", "fp32", None),
    "eyeriss": (
        "eyeriss-sim",
        "Eyeriss, simulated by HW-NAS-Bench",
        "HW-NAS-Bench, a simulator; the precision is assumed",
        "int16",
        EnergyModel(
            source="power x time; power: 0.82 to 0.93 mJ/ms in HW-NAS-Bench's published examples, their middle",
            power_w=0.875,
            boundary="accelerator",
        ),
    ),
    "fpga": (
        "fpga-zc706",
        "Xilinx ZC706 FPGA",
        "HW-NAS-Bench, its accelerator; the precision is assumed",
        "int16",
        EnergyModel(
            source="power x time; power: 7.0 W, constant in HW-NAS-Bench's published examples",
            power_w=7.0,
            boundary="accelerator",
        ),
    ),
}


def layers() -> list[tuple[int, int, int, int]]:
    """Input channels, output channels, stride and input size of the 22 layers."""
    found, channels, size = [], STEM, SIZE
    for width, depth, stride in zip(WIDTHS, DEPTHS, STRIDES, strict=True):
        for i in range(depth):
            found.append((channels, width, stride if i == 0 else 1, size))
            channels, size = width, -(-size // found[-1][2])
    return found


def operation(layer: tuple[int, int, int, int], kernel: int, expand: int) -> BlockShape:
    """An inverted residual; its first convolution is there with an expansion of 1 too."""
    channels, width, stride, size = layer
    hidden = channels * expand
    depthwise = conv(hidden, hidden, kernel, size, stride, "relu", groups=hidden)
    ops = [conv(channels, hidden, 1, size, 1, "relu"), depthwise, conv(hidden, width, 1, depthwise.out_size, 1, "none")]
    residual = channels == width and stride == 1
    if residual:
        ops.append(OpShape("add", width, width, size, size))
    return BlockShape("mbconv", tuple(ops), residual=residual)


def skip(layer: tuple[int, int, int, int]) -> list[BlockShape]:
    """What a layer costs when it is skipped."""
    channels, width, stride, size = layer
    if channels == width and stride == 1:
        return []
    out_size = -(-size // stride)
    return [
        BlockShape("mbconv", (OpShape("conv", channels, width, size, out_size, 1, stride, norm=True, activation="relu"),))
    ]


def ends() -> list[BlockShape]:
    """Stem and head."""
    size = layers()[-1][3]
    head = (
        conv(WIDTHS[-1], HEAD, 1, size, 1, "relu"),
        OpShape("global_pool", HEAD, HEAD, size, 1),
        OpShape("linear", HEAD, CLASSES, 1, 1, bias=True),
    )
    return [BlockShape("stem", (conv(3, STEM, 3, SIZE, 1, "relu"),)), BlockShape("head", head)]


def platform(reference: Path, table: str) -> Platform:
    """A device's model; its error is of random networks whose every operation was predicted by a fit without its layer."""
    name, device, runtime, precision, energy = DEVICES[table]
    with open(reference / "measured" / f"fbnet_cifar_{table}.csv", newline="") as file:
        added_ms = {(row["layer"], row["op"]): float(row["delta_ms_vs_skip"]) for row in csv.DictReader(file)}
    rest_ms = added_ms["const", "all_skip_network"]

    def terms(blocks: list[BlockShape]) -> np.ndarray:
        return sum((block_terms(block, precision, 1) for block in blocks), np.zeros(len(TERMS)))

    counts_skips = rest_ms > 0  # not the FPGA's table; see the top of this file
    skipped = [skip(layer) if counts_skips else [] for layer in layers()]
    rows = [
        (i, terms([operation(layer, *sizes)]) - terms(skipped[i]), added_ms[str(i), op])
        for i, layer in enumerate(layers())
        for op, sizes in OPS.items()
        if counts_skips or layer[2] == 1
    ]
    rest = terms([*ends(), *(block for blocks in skipped for block in blocks)])
    shapes = np.array([layers().index(layers()[i]) for i, _, _ in rows])
    matrix, target = np.array([row for _, row, _ in rows]), np.array([ms for _, _, ms in rows])

    def fitted(kept: np.ndarray) -> np.ndarray:
        scaled = matrix[kept] / target[kept, None]
        unit = np.abs(scaled).max(axis=0)
        used = unit > 0
        weights = np.zeros(len(TERMS))
        weights[used] = nnls(scaled[:, used] / unit[used], np.ones(len(scaled)))[0] / unit[used]
        return weights

    left_out = np.empty(len(rows))
    for shape in set(shapes):
        left_out[shapes == shape] = matrix[shapes == shape] @ fitted(shapes != shape)
    weights = fitted(np.ones(len(rows), dtype=bool))
    _assume(weights)
    network_ms = float(f"{rest_ms - rest @ weights:.4g}") if counts_skips else 0.0
    blocks = [operation(layer, *sizes) for layer in layers() for sizes in OPS.values() if counts_skips or layer[2] == 1]
    report = _report(left_out, target, rest_ms)  # of the FPGA's energies too: they are published as 7.0 W x latency
    return Platform(
        name=name,
        device=device,
        runtime=runtime,
        precision=precision,
        kind="calibrated",
        description=DESCRIPTION.format(
            f"of the published time of the rest, {network_ms:.3g} ms is unexplained and charged to every network"
            if counts_skips
            else "what a network takes besides is unknown, for the table has operations only, and is not charged"
        ),
        source=SOURCE,
        licence="MIT",
        error=report,
        latency=replace(to_model(weights), network_ms=network_ms, seen=seen(blocks)),
        energy=replace(energy, error=report) if energy is not None and table == "fpga" else energy,
    )


def _assume(weights: np.ndarray) -> None:
    """Fill in what no operation of the table has, from the 1x1 convolutions."""
    place = {term: i for i, term in enumerate(TERMS)}
    stem = PRIOR.ops["conv_kxk"].ms_per_mmac / PRIOR.ops["conv_1x1"].ms_per_mmac
    for kind, field, factor in (
        ("conv_kxk", "ms_per_mmac", stem),
        ("linear", "ms_per_mmac", 1.0),
        ("linear", "ms_per_weight_mb", 1.0),
        ("pool", "ms_per_activation_mb", 1.0),
        ("elementwise", "ms_per_activation_mb", 1.0),
    ):
        weights[place[kind, field]] = factor * weights[place["conv_1x1", field]]


def _report(predicted_ms: np.ndarray, table_ms: np.ndarray, rest_ms: float) -> ErrorReport:
    """Random networks as sums of operations: predicted without the operation's layer, and by the table."""
    layer_count = len(predicted_ms) // len(OPS)
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(OPS), size=(RANDOM_NETS, layer_count)) + len(OPS) * np.arange(layer_count)
    predicted, table = rest_ms + predicted_ms[chosen].sum(axis=1), rest_ms + table_ms[chosen].sum(axis=1)
    note = (
        "random FBNet networks summed from the table; each operation predicted by a fit without layers of its shape, the "
        "time of the rest taken as known"
    )
    return compare(predicted, table, note)
