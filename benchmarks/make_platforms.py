"""Fit everything that ships fitted: the prior of `ofa calibrate`, and the calibrated platforms.

python benchmarks/make_platforms.py --reference ../shared/reference [--prior]

Writes latency_tables/platforms/*.yaml; with --prior prints the prior (calibration/prior.py holds it) and stops.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import fbnet_ops
import fbnet_tables
import judged_energy
import mlperf_edge
import mlperf_tiny
import numpy as np
from reference_data import GPU_COLUMNS, gpu_subnets, specialised_nets
from scipy.optimize import nnls

from latency_tables import Platform, load_platform, save_platform
from latency_tables.calibration.calibrate import (
    TERMS,
    Subject,
    block_terms,
    calibrate,
    network_terms,
    seen,
    to_model,
)
from latency_tables.calibration.timings_csv import Timing
from latency_tables.cost_models.uncertainty import ErrorReport, compare
from ofa.space.search_space import load_space
from ofa.space.shapes import walk_blocks

HELP = "HELP (Lee et al., NeurIPS 2021), github.com/HayeonLee/HELP at 45f70eb, data/ofa"
OFA = (
    "OFA's published specialised nets (Cai et al., ICLR 2020): net.config, and latency in the name, "
    "github.com/han-cai/files at a7c9bcd"
)
COMPOFA = (
    "CompOFA's latency_table@note10, github.com/gatech-sysml/CompOFA at 6b53946; identical to OFA's five where both exist"
)
TFLITE = "TensorFlow Lite, fp32, as published with OFA"
ROUNDED = " The published latencies are rounded to 1 ms."
DEVICES = {
    "1080ti": ("gtx-1080ti", "NVIDIA GTX 1080 Ti", "GPU, as published with OFA", 64),
    "LG-G8": ("lg-g8", "LG G8, CPU", TFLITE, 1),
    "cpu": ("xeon-e5-2690v4", "Intel Xeon E5-2690 v4", "MKL-DNN, as published with OFA", 1),
    "note8": ("note8", "Samsung Note8, CPU", TFLITE, 1),
    "pixel1": ("pixel1", "Google Pixel 1, CPU", TFLITE, 1),
    "pixel2": ("pixel2", "Google Pixel 2, CPU", TFLITE, 1),
    "s7edge": ("s7-edge", "Samsung S7 edge, CPU", TFLITE, 1),
    "tx2": ("jetson-tx2", "NVIDIA Jetson TX2", "GPU, as published with OFA", 16),
    "v100": ("v100-ofa", "NVIDIA V100", "GPU, as published with OFA", 64),
}
FITTED_SHARE, SEED = 0.8, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--prior", action="store_true", help="print the prior and stop")
    args = parser.parse_args()
    if args.prior:
        print_prior(args.reference)
        return
    folder = Path(__file__).resolve().parents[1] / "latency_tables" / "platforms"
    fbnet = [fbnet_tables.platform(args.reference), *fbnet_ops.platforms(args.reference)]
    tiny = mlperf_tiny.platforms(args.reference)
    edge = mlperf_edge.platforms(args.reference)
    for platform in (*specialised(args.reference), *gpus(args.reference), note10(args.reference), *fbnet, *tiny, *edge):
        save_platform(judged_energy.with_energy(platform, args.reference), folder / f"{platform.name}.yaml")
        print(f"{platform.name:20} {platform.error.mape:.2%} worst {platform.error.worst:.1%} of {platform.error.networks}")


def print_prior(reference: Path) -> None:
    """The mean of five fits, each divided by its median over 200 random subnets of mbv3-w1.2."""
    space = load_space("mbv3-w1.2")
    subnets = space.decode(space.sample(200, np.random.default_rng(SEED)))
    of_reference = network_terms([Timing(space=space, subnet=s, latency_ms=1.0) for s in subnets], "fp32", 1)
    fits = [table_weights(load_platform(reference / "tables" / "pixel1_proxyless_mobile_trim.yaml"))]
    columns = gpu_subnets(reference)
    terms = network_terms(columns["v100_1"], "fp32", 1)
    fits += [
        least_squares(terms, np.array([t.latency_ms for t in timings]))
        for name, timings in columns.items()
        if name[-2] != "_"
    ]
    prior = np.mean([weights / np.median(of_reference @ weights) for weights in fits], axis=0)
    model = to_model(np.array([float(f"{weight:.3g}") for weight in prior]))
    for kind, time in model.ops.items():
        print(f'        "{kind}": {time!r},')


def table_weights(platform: Platform) -> np.ndarray:
    """A fit to a published table's blocks, each by the square root of its time."""
    assert platform.table is not None
    blocks = platform.table.blocks
    median_ms = np.array([block.median_ms for block in blocks])
    terms = np.array([block_terms(block.shape, "fp32", 1) for block in blocks])
    return least_squares(terms, median_ms, np.sqrt(median_ms))


def least_squares(terms: np.ndarray, latency_ms: np.ndarray, scale: np.ndarray | None = None) -> np.ndarray:
    """Non-negative least squares of errors divided by `scale` (relative errors by default), without a prior.

    Dense k x k convolutions are charged by their work only: these networks have one, the stem, whose weights are the same
    few hundred in all of them and whose feature maps grow exactly as its work does. Coefficients of those would stand for
    something else, and be absurd for a space with more such convolutions.
    """
    unidentified = [("conv_kxk", "ms_per_weight_mb"), ("conv_kxk", "ms_per_activation_mb")]
    terms = terms * np.array([term not in unidentified for term in TERMS])
    scale = latency_ms if scale is None else scale
    unit = np.maximum(terms.max(axis=0), 1e-30)
    weights, _ = nnls(terms / unit / scale[:, None], latency_ms / scale)
    return weights / unit * (terms.max(axis=0) > 0)


def specialised(reference: Path) -> list[Platform]:
    """The devices of the published specialised nets, but the Note10."""
    platforms = []
    for device, timings in specialised_nets(reference).items():
        if device == "note10":
            continue
        name, full, runtime, batch = DEVICES[device]
        subject = Subject(
            name=name,
            device=full,
            runtime=runtime,
            batch=batch,
            source=OFA + "." + ROUNDED,
            licence="none stated (code repository: MIT); fitted coefficients only",
        )
        platforms.append(pixel1(reference, timings, subject) if device == "pixel1" else calibrate(timings, subject))
    return platforms


def pixel1(reference: Path, timings: list[Timing], subject: Subject) -> Platform:
    """The proportions of its terms from its published table of blocks, their level from the seven nets.

    Fitted to the table alone, all seven nets are predicted 15 to 21% too slow: other software, presumably.
    """
    table = load_platform(reference / "tables" / "pixel1_proxyless_mobile_trim.yaml")
    proportions = to_model(table_weights(table))
    platform = calibrate(timings, subject, proportions)
    blocks = [block.shape for block in table.table.blocks] if table.table else []
    networks = [block for timing in timings for block in walk_blocks(timing.space, timing.subnet)]
    level = np.mean([t.latency_ms for t in timings] / predict(replace(platform, latency=proportions), timings))
    assert platform.latency is not None
    return replace(
        platform,
        description=f"A model of operations fitted to a published table of {len(blocks)} blocks of ProxylessNAS's space, "
        f"then calibrated to seven published nets, which take {level:.2f} of what the table says.",
        source="ProxylessNAS's mobile_trim.yaml (Cai et al., ICLR 2019), github.com/han-cai/files at a7c9bcd. Level: "
        + subject.source,
        latency=replace(platform.latency, seen=seen([*blocks, *networks])),
    )


def split(timings: list[Timing]) -> tuple[list[Timing], list[Timing]]:
    """The timings that are fitted, and those held out."""
    order = np.random.default_rng(SEED).permutation(len(timings))
    fitted = set(order[: round(FITTED_SHARE * len(timings))].tolist())
    return [t for i, t in enumerate(timings) if i in fitted], [t for i, t in enumerate(timings) if i not in fitted]


def gpus(reference: Path) -> list[Platform]:
    """V100 and Titan RTX by batch, fitted to 3,200 subnets; the error is of the other 800."""
    platforms = []
    for column, timings in gpu_subnets(reference).items():
        device, batch = column.rpartition("_")[0], GPU_COLUMNS[column]
        fitted, rest = split(timings)
        subject = Subject(
            name=f"{device.replace('_', '-')}-batch{batch}",
            device={"v100": "NVIDIA V100", "titan_rtx": "NVIDIA Titan RTX"}[device],
            runtime="GPU framework, as published with HELP",
            batch=batch,
            source=HELP,
            licence="MIT",
        )
        platforms.append(with_error(calibrate(fitted, subject), rest, "800 subnets of mbv3-w1.2 that were not fitted"))
    return platforms


def note10(reference: Path) -> Platform:
    """The Note10 from its published table; the error is of the eight published nets."""
    table = load_platform(reference / "tables" / "note10")
    assert table.table is not None
    nets = specialised_nets(reference)["note10"]
    platform = Platform(
        name="note10",
        device="Samsung Note10, CPU",
        runtime=TFLITE,
        precision="fp32",
        kind="calibrated",
        description="A model of operations fitted to a published table of 1,581 blocks of mbv3-w1.2 at 17 resolutions.",
        source=COMPOFA + ". Validated on the Note10 nets of " + OFA + "." + ROUNDED,
        licence="Apache-2.0 (the table)",
        error=ErrorReport(note="replaced below"),
        latency=replace(to_model(table_weights(table)), seen=seen(block.shape for block in table.table.blocks)),
    )
    return with_error(platform, nets, "the eight published Note10 nets (none fitted; five of another width, one at 260 px)")


def with_error(platform: Platform, timings: list[Timing], note: str) -> Platform:
    """The platform with its error on timings that were not fitted."""
    measured = np.array([timing.latency_ms for timing in timings])
    return replace(platform, error=compare(predict(platform, timings), measured, note))


def predict(platform: Platform, timings: list[Timing]) -> np.ndarray:
    """Latencies of networks, also at resolutions outside their space."""
    known: dict[object, float] = {}
    totals = []
    for timing in timings:
        total = platform.network_ms
        for block in walk_blocks(timing.space, timing.subnet):
            if block not in known:
                known[block] = platform.block_ms(block)
            total += known[block]
        totals.append(total)
    return np.array(totals)


if __name__ == "__main__":
    main()
