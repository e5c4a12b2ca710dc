"""The FPGA platform, fitted to HW-NAS-Bench's per-operation table of the FBNet space for CIFAR-100 (Li et al., ICLR 2021).

The reference file holds what each operation adds over the skip of its layer, at 32 px (`fbnet_ops` has the other devices).
Operations with grouped 1x1 convolutions are left out: no space here has them. So are the layers with stride 2: the table has
their first 1x1 convolution at a quarter of its cost, as if that ran at the output's size. Skips, stem and head are not in
it; stem, head, pools and sums are charged at the rates of 1x1 convolutions, the stem per MAC in the prior's proportion.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from fbnet_ops import RANDOM_NETS, Layer, layers
from scipy.optimize import nnls

from latency_tables import Platform
from latency_tables.calibration.calibrate import TERMS, block_terms, seen, to_model
from latency_tables.calibration.prior import PRIOR
from latency_tables.cost_models.op_model import EnergyModel
from latency_tables.cost_models.uncertainty import ErrorReport, compare
from ofa.space.ops import conv
from ofa.space.shapes import BlockShape, OpShape

SIZE, PRECISION = 32, "int16"
OPS = {f"k{kernel}_e{expand}": (kernel, expand) for kernel in (3, 5) for expand in (1, 3, 6)}
SOURCE = "HW-NAS-Bench's per-operation table of the FBNet space, via HELP (github.com/HayeonLee/HELP at 45f70eb, data/fbnet)"


def operation(layer: Layer, kernel: int, expand: int) -> BlockShape:
    """An inverted residual; its first convolution is there with an expansion of 1 too."""
    channels, width, stride, size = layer
    hidden = channels * expand
    depthwise = conv(hidden, hidden, kernel, size, stride, "relu", groups=hidden)
    ops = [conv(channels, hidden, 1, size, 1, "relu"), depthwise, conv(hidden, width, 1, depthwise.out_size, 1, "none")]
    residual = channels == width and stride == 1
    if residual:
        ops.append(OpShape("add", width, width, size, size))
    return BlockShape("mbconv", tuple(ops), residual=residual)


def platform(reference: Path) -> Platform:
    """Its error is of random networks whose every operation was predicted by a fit without its layer."""
    with open(reference / "measured" / "fbnet_cifar_fpga.csv", newline="") as file:
        added_ms = {(row["layer"], row["op"]): float(row["delta_ms_vs_skip"]) for row in csv.DictReader(file)}
    every = layers(SIZE)
    rows = [
        (every.index(layer), operation(layer, *sizes), added_ms[str(i), op])
        for i, layer in enumerate(every)
        for op, sizes in OPS.items()
        if layer[2] == 1
    ]
    shapes, blocks = np.array([row[0] for row in rows]), [row[1] for row in rows]
    matrix = np.array([block_terms(block, PRECISION, 1) for block in blocks])
    target = np.array([row[2] for row in rows])
    left_out = np.empty(len(rows))
    for shape in set(shapes):
        left_out[shapes == shape] = matrix[shapes == shape] @ _fitted(matrix[shapes != shape], target[shapes != shape])
    weights = _fitted(matrix, target)
    _assume(weights)
    report = _report(left_out, target)  # of the energies too: they are published as 7.0 W x latency
    return Platform(
        name="fpga-zc706",
        device="Xilinx ZC706 FPGA",
        runtime="HW-NAS-Bench, its accelerator; the precision is assumed",
        precision=PRECISION,
        kind="calibrated",
        description="A model of operations fitted to the operations of FBNet's space at 32 px. Rates of the stem, the head, "
        "pools and sums are assumed from those; what a network takes besides is unknown, for the table has operations only, "
        "and is not charged.",
        source=SOURCE,
        licence="MIT",
        error=report,
        latency=replace(to_model(weights), seen=seen(blocks)),
        energy=EnergyModel(
            source="power x time; power: 7.0 W, constant in HW-NAS-Bench's published examples",
            power_w=7.0,
            boundary="accelerator",
            error=report,
        ),
    )


def _fitted(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    scaled = matrix / target[:, None]
    unit = np.abs(scaled).max(axis=0)
    used = unit > 0
    weights = np.zeros(len(TERMS))
    weights[used] = nnls(scaled[:, used] / unit[used], np.ones(len(scaled)))[0] / unit[used]
    return weights


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


def _report(predicted_ms: np.ndarray, table_ms: np.ndarray) -> ErrorReport:
    """Random networks as sums of operations: predicted without the operation's layer, and by the table."""
    layer_count = len(predicted_ms) // len(OPS)
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(OPS), size=(RANDOM_NETS, layer_count)) + len(OPS) * np.arange(layer_count)
    note = "random FBNet networks summed from the table; each operation predicted by a fit without layers of its shape"
    return compare(predicted_ms[chosen].sum(axis=1), table_ms[chosen].sum(axis=1), note)
