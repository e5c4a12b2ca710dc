"""What the calibrated platforms and `ofa calibrate` reach on published measurements; one JSON line per claim.

python benchmarks/platforms.py --reference ../shared/reference

Latencies come from the shipped files where the claim is about those; every error is on networks that were not fitted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fbnet_ops
import fbnet_tables
import mlperf_tiny
import numpy as np
from bounds import gpu_name, nested_below
from make_platforms import predict, split
from reference_data import GPU_COLUMNS, gpu_subnets, specialised_nets
from scipy.stats import spearmanr

from latency_tables import load_platform
from latency_tables.blocks.fused_ops import fuse
from latency_tables.calibration.calibrate import Subject, calibrate
from latency_tables.calibration.timings_csv import Timing
from latency_tables.cost_models.op_model import conversions
from ofa import official
from ofa.space.search_space import load_space
from ofa.space.shapes import walk_blocks

BATCHES = {"1080ti": 64, "v100": 64, "tx2": 16}
RANDOM_SUBNETS = 1000
GPU_LIMITS = {column: 0.065 if batch == 1 else 0.025 for column, batch in GPU_COLUMNS.items()}
GPU_LIMITS["v100_32"] = 0.06


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True)
    args = parser.parse_args()
    for claims in (table_import, leave_one_out, gpus, note10, fbnet, microcontrollers, coverage, analog):
        for line in claims(args.reference):
            print(json.dumps(line), flush=True)


def table_import(reference: Path) -> Iterator[dict[str, Any]]:
    """The imported Note10 table against the published package's latencies."""
    golden = json.loads((reference / "golden" / "search.json").read_text())["mbv3-w1.2"]
    space = load_space("mbv3-w1.2")
    genes = space.encode([official.to_subnet(space, net["arch"], net["resolution"]) for net in golden])
    ours = load_platform(reference / "tables" / "note10").costs(space).latency_ms(genes)
    worst = float(np.abs(ours / np.array([net["note10_latency_ms"] for net in golden]) - 1).max())
    yield {
        "claim": "Note10 table import equals the published package",
        "subnets": len(golden),
        "largest_relative_difference": worst,
        "target": 1e-6,
        "met": worst <= 1e-6,
    }


def leave_one_out(reference: Path) -> Iterator[dict[str, Any]]:
    """`ofa calibrate` on the specialised nets of each device."""
    mapes = {}
    for device, timings in specialised_nets(reference).items():
        error = calibrate(timings, subject(device)).error
        assert error.mape is not None
        mapes[device] = error.mape
        rounding = float(np.mean([0.25 / timing.latency_ms for timing in timings]))
        yield {
            "claim": f"leave-one-out, {device}",
            "networks": error.networks,
            "mape": error.mape,
            "worst": error.worst,
            "mape_of_rounding_to_1_ms_alone": round(rounding, 4),
            "target": 0.08,
            "met": error.mape <= 0.08,
        }
    mean = float(np.mean(list(mapes.values())))
    error = load_platform("pixel1").error
    facts = {"networks": error.networks, "mape": error.mape, "worst": error.worst}
    yield {"claim": "shipped Pixel 1, level from its seven nets on its table's proportions, leave-one-out"} | facts
    yield {"claim": "leave-one-out, mean of ten devices", "mape": round(mean, 4), "target": 0.04, "met": mean <= 0.04}


def gpus(reference: Path) -> Iterator[dict[str, Any]]:
    """The shipped GPU platforms on the subnets that were not fitted."""
    for column, timings in gpu_subnets(reference).items():
        name, rest = gpu_name(column), split(timings)[1]
        measured = np.array([timing.latency_ms for timing in rest])
        predicted = predict(load_platform(name), rest)
        limit = GPU_LIMITS[column]
        yield (
            {"claim": f"shipped {name} on subnets not fitted"}
            | compared(predicted, measured)
            | verdict(predicted, measured, limit)
        )


def note10(reference: Path) -> Iterator[dict[str, Any]]:
    """The shipped Note10, and what the eight published nets alone make, against the imported table."""
    table = load_platform(reference / "tables" / "note10")
    assert table.table is not None
    sizes = sorted({block.resolution for block in table.table.blocks if block.resolution})
    space = load_space("mbv3-w1.2").restrict(resolutions=sizes)
    genes = space.sample(RANDOM_SUBNETS, np.random.default_rng(0))
    measured = table.costs(space).latency_ms(genes)
    nets = specialised_nets(reference)["note10"]
    eight = calibrate(nets, subject("note10"))
    random = [Timing(space=space, subnet=s, latency_ms=1.0) for s in space.decode(space.sample(8, np.random.default_rng(1)))]
    random_ms = table.costs(space).latency_ms(space.encode([timing.subnet for timing in random]))
    eight_random = calibrate(
        [Timing(space=space, subnet=t.subnet, latency_ms=float(ms)) for t, ms in zip(random, random_ms, strict=True)],
        subject("note10"),
    )
    for claim, platform, limit, bias in (
        ("shipped Note10 against the imported table", load_platform("note10"), 0.04, 0.02),
        ("calibrated on the eight published Note10 nets, against the table", eight, 0.06, None),
        ("for comparison: calibrated on eight random subnets of the table", eight_random, None, None),
    ):
        predicted = platform.costs(space).latency_ms(genes)
        yield {"claim": claim} | compared(predicted, measured) | verdict(predicted, measured, limit, bias)
    predicted = predict(load_platform("note10"), nets)
    yield {"claim": "shipped Note10 on the eight published nets"} | compared(
        predicted, np.array([timing.latency_ms for timing in nets])
    )


def fbnet(reference: Path) -> Iterator[dict[str, Any]]:
    """The platforms fitted to tables of FBNet's operations; no target was set."""
    for platform in (*fbnet_ops.platforms(reference), fbnet_tables.platform(reference)):
        error = platform.error
        yield {
            "claim": f"{platform.name}: FBNet networks, each operation predicted without layers of its shape",
            "networks": error.networks,
            "mape": error.mape,
            "worst": error.worst,
            "spearman": error.spearman,
        }


def microcontrollers(reference: Path) -> Iterator[dict[str, Any]]:
    """Four networks, each predicted by a fit to the other three; no target was set."""
    for platform in mlperf_tiny.platforms(reference):
        assert platform.energy is not None
        for metric, error in (("latency", platform.error), ("energy", platform.energy.error)):
            assert error is not None
            facts = {"networks": error.networks, "mape": error.mape, "worst": error.worst, "spearman": error.spearman}
            yield {"claim": f"{platform.name}: {metric} of MLPerf Tiny networks left out"} | facts


def coverage(reference: Path) -> Iterator[dict[str, Any]]:
    """The share of networks below a p50 and a p90 that have not seen them; 50% and 90% are promised. See also bounds.py."""
    below = []
    for device, timings in specialised_nets(reference).items():
        below += nested_below(timings, BATCHES.get(device, 1))
    yield {"claim": "specialised nets below a bound from the other nets of the device"} | shares(np.array(below).T)
    table = load_platform(reference / "tables" / "note10")
    sizes = sorted({block.resolution for block in table.table.blocks if block.resolution}) if table.table else []
    space = load_space("mbv3-w1.2").restrict(resolutions=sizes)
    genes = space.sample(RANDOM_SUBNETS, np.random.default_rng(0))
    bounds = load_platform("note10").costs(space).p50_p90("latency_ms", genes)
    assert bounds is not None
    yield {"claim": "shipped Note10, the imported table"} | shares(table.costs(space).latency_ms(genes) <= np.array(bounds))


def shares(below: np.ndarray) -> dict[str, Any]:
    p50, p90 = below.mean(axis=1)
    return {"networks": below.shape[1], "below_p50": round(float(p50), 3), "below_p90": round(float(p90), 3)}


def analog(_: Path) -> Iterator[dict[str, Any]]:
    """What is left of an analog macro's peak efficiency in a system, on the largest subnet of mbv3-w1.2."""
    space = load_space("mbv3-w1.2")
    platform, largest = load_platform("analog-imc"), space.decode(space.levels - 1)[0]
    energy = platform.energy
    assert energy is not None
    assert energy.ops is not None
    ops = [op for block in walk_blocks(space, largest) for op in fuse(block)]
    each = energy.ops["default"]
    parts = {
        "array": each.pj_per_mac * sum(op.macs for op in ops),
        "conversion": energy.pj_per_conversion * sum(conversions(op, energy.array_rows) for op in ops),
        "buffer": each.pj_per_activation_byte * sum(op.activations for op in ops),
        "weights from DRAM": each.pj_per_weight_byte * sum(op.weights for op in ops),
        "static": energy.static_w * float(platform.costs(space).latency_ms(space.levels - 1)[0]) * 1e9,
    }
    total = float(platform.costs(space).energy_mj(space.levels - 1)[0])
    assert abs(sum(parts.values()) * 1e-9 / total - 1) < 1e-9
    spent, operations = 0.0, 2 * sum(op.macs for op in ops)
    for name, picojoules in parts.items():
        spent += picojoules
        facts = {"mj": round(picojoules * 1e-9, 4), "tops_per_w_with_all_so_far": round(operations / spent, 3)}
        yield {"claim": f"analog-imc, largest subnet of mbv3-w1.2: {name}"} | facts


def subject(device: str) -> Subject:
    return Subject(name=device, device=device, runtime="as published", source="published", batch=BATCHES.get(device, 1))


def compared(predicted: np.ndarray, measured: np.ndarray) -> dict[str, Any]:
    errors = predicted / measured - 1
    return {
        "networks": len(measured),
        "mape": round(float(np.abs(errors).mean()), 4),
        "worst": round(float(np.abs(errors).max()), 4),
        "bias": round(float(errors.mean()), 4),
        "spearman": round(float(spearmanr(predicted, measured).statistic), 4),
    }


def verdict(predicted: np.ndarray, measured: np.ndarray, limit: float | None, bias: float | None = None) -> dict[str, Any]:
    if limit is None:
        return {}
    errors = predicted / measured - 1
    met = np.abs(errors).mean() <= limit and (bias is None or abs(errors.mean()) <= bias)
    return {"target": limit, "met": bool(met)} | ({} if bias is None else {"target_bias": bias})


if __name__ == "__main__":
    main()
