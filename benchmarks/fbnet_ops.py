"""Platforms fitted to HW-NAS-Bench's operations of FBNet's space at 32 and 224 px (Li et al., ICLR 2021).

The table has every operation of the space, each measured on its own: inverted residuals, skips (a 1x1 convolution where
shapes change), stem, last convolution and classifier. Its networks are sums of operations. Left out are operations with
grouped 1x1 convolutions, which no space here has, and the pools: the simulator's take longer than a whole network.

On the Jetson TX2 a call takes as long as a small operation, and is in each; so blocks have a constant part (`call_ms`).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from latency_tables import Platform
from latency_tables.blocks.fused_ops import fuse
from latency_tables.calibration.calibrate import operation_terms, prior_weights, seen, to_model
from latency_tables.calibration.operations import to_energy
from latency_tables.calibration.prior import EVERY_KIND
from latency_tables.cost_models.op_model import EnergyModel
from latency_tables.cost_models.uncertainty import ErrorReport, compare
from ofa.space.ops import conv
from ofa.space.shapes import BlockShape, OpShape

WIDTHS, DEPTHS = (16, 24, 32, 64, 112, 184, 352), (1, 4, 4, 4, 4, 4, 1)
STRIDES = {32: (1, 1, 2, 2, 1, 2, 1), 224: (1, 2, 2, 2, 1, 2, 1)}
STEM, FIRST_SIZE, LAST_SIZE = 16, {32: 32, 224: 112}, {32: 4, 224: 7}
TIMING_ERROR, PRIOR_DEVIATION = 0.01, 3.0
"""As in `calibration.calibrate`, but the prior weighs little: there are a hundred operations, and nearly no noise."""
CALL_SHARE = 0.02
"""Share of a network in the prior of a call."""
RANDOM_NETS = 1000
SOURCE = (
    "HW-NAS-Bench v1.0 (Li et al., ICLR 2021), its table of FBNet's operations at 32 and 224 px, as JSON in "
    "github.com/fracapuano/sim-is-more at c8a9073; its sums give the networks that HW-NAS-Bench prints"
)
NOTE = (
    "1,000 random FBNet networks at 224 px, summed from the table; each operation predicted by a fit without layers of its "
    "shape, stem and head by the whole fit"
)
Layer = tuple[int, int, int, int]
"""Input channels, output channels, stride, input size."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A column of the table, and what the platform says of it."""

    name: str
    device: str
    runtime: str
    precision: str = "fp32"
    sizes: tuple[int, ...] = (32, 224)
    called: bool = False
    """True: each block has a constant part."""
    boundary: str | None = None
    """Boundary of its energy; None: the table has none."""
    description: str = ""


CALLS = (
    "Each block is called on its own, as HW-NAS-Bench measured and summed them; a network in one TensorRT engine does not "
    "pay call_ms and call_mj for every block, and takes a fraction of this. Power mode not stated."
)
SIMULATED = "A simulator's figures; the precision is assumed."
DEVICES = {
    "raspi4": Device(name="raspi4", device="Raspberry Pi 4, CPU", runtime="TensorFlow Lite, as published with HW-NAS-Bench"),
    "pixel3": Device(name="pixel3", device="Google Pixel 3, CPU", runtime="TensorFlow Lite, as published with HW-NAS-Bench"),
    "eyeriss": Device(
        name="eyeriss-sim",
        device="Eyeriss, simulated by HW-NAS-Bench",
        runtime="HW-NAS-Bench, a simulator; the precision is assumed",
        precision="int16",
        boundary="accelerator",
        description=SIMULATED,
    ),
    "tx2": Device(
        name="jetson-tx2-batch1",
        device="NVIDIA Jetson TX2, GPU",
        runtime="TensorRT through torch2trt, as published with HW-NAS-Bench; the precision is assumed",
        sizes=(224,),
        called=True,
        boundary="module",
        description=CALLS,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A column fitted: coefficients, and each row predicted without layers of its shape."""

    rows: list[dict[str, str]]
    shapes: list[BlockShape]
    measured: np.ndarray
    weights: np.ndarray
    """The terms' coefficients, then that of a call."""
    whole: np.ndarray
    """The rows by the whole fit."""
    left_out: np.ndarray

    def block_mape(self, size: int) -> float:
        """Mean error of the inverted residuals at a resolution, each left out with its layer."""
        chosen = [i for layer in set(layers(size)) for i in self.choices(layer)]
        return float(np.mean(np.abs(self.left_out[chosen] / self.measured[chosen] - 1)))

    def choices(self, layer: Layer) -> list[int]:
        """The rows with the inverted residuals of a layer."""
        return [i for i, row in enumerate(self.rows) if row["kind"] == "ConvBlock" and _layer(row) == layer]

    def networks(self, size: int) -> ErrorReport:
        """Error on random networks at a resolution."""
        rng = np.random.default_rng(0)
        chosen = np.array([rng.choice(self.choices(layer), RANDOM_NETS) for layer in layers(size)])
        ends = [i for i, row in enumerate(self.rows) if row["kind"] == "ConvNorm" and _end_of(row) == size]
        predicted = self.left_out[chosen].sum(axis=0) + self.whole[ends].sum()
        return compare(predicted, self.measured[chosen].sum(axis=0) + self.measured[ends].sum(), NOTE)


def layers(size: int) -> list[Layer]:
    """The 22 layers of FBNet at a resolution."""
    found, channels, pixels = [], STEM, FIRST_SIZE[size]
    for width, depth, stride in zip(WIDTHS, DEPTHS, STRIDES[size], strict=True):
        for i in range(depth):
            found.append((channels, width, stride if i == 0 else 1, pixels))
            channels, pixels = width, -(-pixels // found[-1][2])
    return found


def shape(row: dict[str, str]) -> BlockShape:
    """The block of a row."""
    channels, width = int(row["in_channels"]), int(row["out_channels"])
    if row["kind"] == "FC":
        return BlockShape("head", (OpShape("linear", channels, width, 1, 1, bias=True),))
    size, stride = int(row["in_size"]), int(row["stride"])
    if row["kind"] == "Skip":
        return BlockShape("mbconv", (conv(channels, width, 1, size, stride, "relu"),))
    if row["kind"] == "ConvNorm":
        return BlockShape("stem", (conv(channels, width, int(row["kernel"]), size, stride, "relu"),))
    hidden = channels * int(row["expand"])
    depthwise = conv(hidden, hidden, int(row["kernel"]), size, stride, "relu", groups=hidden)
    ops = [conv(channels, hidden, 1, size, 1, "relu"), depthwise, conv(hidden, width, 1, depthwise.out_size, 1, "none")]
    residual = channels == width and stride == 1
    if residual:
        ops.append(OpShape("add", width, width, size, size))
    return BlockShape("mbconv", tuple(ops), residual=residual)


def fit(reference: Path, column: str, device: Device) -> Fit:
    """Fit a column; each row weighs as the root of its value, as it does in a network's sum."""
    rows = [row for row in _table(reference) if _used(row, column, device.sizes)]
    shapes = [shape(row) for row in rows]
    measured = np.array([float(row[column]) for row in rows])
    terms = np.array([np.append(operation_terms(fuse(s), device.precision, 1), 1.0) for s in shapes])
    prior = np.append(prior_weights(EVERY_KIND, device.precision, 1), CALL_SHARE if device.called else 0.0)
    weights = _least_squares(terms, measured, prior)
    left_out = np.empty(len(rows))
    groups = [_layer(row) if row["kind"] in ("ConvBlock", "Skip") else row["key"] for row in rows]
    for group in set(groups):
        out = np.array([other == group for other in groups])
        left_out[out] = terms[out] @ _least_squares(terms[~out], measured[~out], prior)
    return Fit(rows=rows, shapes=shapes, measured=measured, weights=weights, whole=terms @ weights, left_out=left_out)


def platform(reference: Path, table: str) -> Platform:
    """A device's platform; its error is of random networks at 224 px."""
    device = DEVICES[table]
    latency = fit(reference, f"{table}_ms", device)
    error = latency.networks(224)
    small = {"error of latency at 32 px": _words(latency, 32)} if 32 in device.sizes else {}
    energy = None
    if device.boundary is not None:
        fitted = fit(reference, f"{table}_mj", device)
        small |= {"error of energy at 32 px": _words(fitted, 32)} if 32 in device.sizes else {}
        energy = EnergyModel(
            source=f"energy per operation, fitted to {len(fitted.rows)} operations of HW-NAS-Bench (2021)",
            ops=to_energy(fitted.weights[:-1]),
            call_mj=float(f"{fitted.weights[-1]:.4g}"),
            boundary=device.boundary,
            error=fitted.networks(224),
        )
    sizes = " and ".join(map(str, device.sizes))
    model = replace(to_model(latency.weights[:-1]), call_ms=float(f"{latency.weights[-1]:.4g}"), seen=seen(latency.shapes))
    return Platform(
        name=device.name,
        device=device.device,
        runtime=device.runtime,
        precision=device.precision,
        kind="calibrated",
        description=f"Fitted to {len(latency.rows)} operations of FBNet's space at {sizes} px. Rates of pools and sums "
        f"follow from those of the other operations. {device.description}".rstrip(),
        source=SOURCE,
        licence="MIT",
        details=small,
        error=error,
        latency=model,
        energy=energy,
    )


def platforms(reference: Path) -> list[Platform]:
    """All of them."""
    return [platform(reference, table) for table in DEVICES]


def _words(fitted: Fit, size: int) -> str:
    report = fitted.networks(size)
    return f"mean {report.mape:.1%}, largest {report.worst:.1%}, Spearman {report.spearman:.3f}"


def _least_squares(terms: np.ndarray, measured: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Non-negative ridge regression towards the scaled prior."""
    used, scale = prior > 0, np.sqrt(measured)
    shares, target = terms[:, used] * prior[used] / scale[:, None], measured / scale
    whole = shares.sum(axis=1)
    level = whole @ target / (whole @ whole)
    ridge = TIMING_ERROR / PRIOR_DEVIATION * np.sqrt(np.mean(target**2)) * np.eye(int(used.sum()))
    moves, _ = nnls(np.vstack([shares * level, ridge]), np.concatenate([target, ridge.sum(axis=1)]))
    weights = np.zeros(len(prior))
    weights[used] = prior[used] * level * moves
    return weights


@cache
def _table(reference: Path) -> list[dict[str, str]]:
    with open(reference / "energy" / "measured" / "hwnasbench_fbnet_ops.csv", newline="") as file:
        return list(csv.DictReader(file))


def _used(row: dict[str, str], column: str, sizes: tuple[int, ...]) -> bool:
    """Tell whether a row is fitted: known, not nothing, not grouped, no pool, and of these resolutions."""
    if not row[column] or float(row[column]) == 0 or row["groups"] == "2" or row["kind"] == "AvgP":
        return False
    identity = row["in_channels"] == row["out_channels"] and row["stride"] == "1"
    if row["kind"] == "Skip" and identity:
        return False
    if row["kind"] == "FC":
        return (row["in_channels"] == "1984") if sizes == (224,) else True
    if row["kind"] == "ConvNorm":
        return _end_of(row) in sizes
    return any(_layer(row) in layers(size) for size in sizes)


def _end_of(row: dict[str, str]) -> int:
    """The resolution of a network with this stem, or last convolution."""
    size = int(row["in_size"])
    return next(pixels for pixels, last in LAST_SIZE.items() if size in (pixels, last))


def _layer(row: dict[str, str]) -> Layer:
    return int(row["in_channels"]), int(row["out_channels"]), int(row["stride"]), int(row["in_size"])
