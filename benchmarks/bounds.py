"""Whether measured networks lie below the bounds that other networks of their device give them.

python benchmarks/bounds.py --reference ../shared/reference

A JSON line per case (half a minute): the share of networks below their p50 and p90, 0.5 and 0.9 being promised, by the rule
of `latency_tables.cost_models.uncertainty`; and for comparison by that which it has for less than ten networks only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables import load_platform
from latency_tables.calibration.calibrate import fit, held_out, network_terms, prior_weights
from latency_tables.calibration.prior import PRIOR
from latency_tables.calibration.timings_csv import Timing
from latency_tables.cost_models.uncertainty import P50, P90, ErrorReport, compare, normal_excess

SPLITS = TRIALS = 50
BIAS = 1.15
"""Factor by which a made-up device is slower than its model says."""


def main() -> None:
    from make_platforms import predict, split
    from reference_data import GPU_COLUMNS, gpu_subnets

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True)
    columns = gpu_subnets(parser.parse_args().reference)
    for column, timings in columns.items():
        platform, rest = load_platform(gpu_name(column)), split(timings)[1]
        measured, predicted = np.array([timing.latency_ms for timing in rest]), predict(platform, rest)
        facts = {"of": platform.name, "bounds_from": "half of 800 held-out subnets, checked on the other half"}
        print(json.dumps(facts | halves(predicted, measured)), flush=True)
        facts |= {"of": f"{platform.name}, {BIAS} times slower than its model says"}
        print(json.dumps(facts | halves(predicted, BIAS * measured)), flush=True)
    for column in ("v100_1", "v100_32", "v100_64", "titan_rtx_64"):
        for line in calibrations(columns[column], GPU_COLUMNS[column]):
            print(json.dumps({"of": gpu_name(column)} | line), flush=True)


def gpu_name(column: str) -> str:
    """The platform of a column of the GPU measurements."""
    device, _, batch = column.rpartition("_")
    return f"{device.replace('_', '-')}-batch{batch}"


def halves(predicted: np.ndarray, measured: np.ndarray) -> dict[str, Any]:
    """Shares below bounds that a random half of the networks gives the other half, mean of `SPLITS`."""
    rng, found = np.random.default_rng(0), []
    for _ in range(SPLITS):
        known, new = np.array_split(rng.permutation(len(measured)), 2)
        report = compare(predicted[known], measured[known], "a half")
        found.append(below(report, predicted[new], measured[new]))
    return means(found)


def calibrations(timings: list[Timing], batch: int) -> Iterator[dict[str, Any]]:
    """Shares of the other subnets below the bounds of calibrations on a few random ones, whose errors are leave-one-out."""
    terms = network_terms(timings, "fp32", batch)
    latency_ms = np.array([timing.latency_ms for timing in timings])
    weights = prior_weights(PRIOR, "fp32", batch)
    for count in (6, 10, 20, 40):
        rng, found = np.random.default_rng(count), []
        for _ in range(TRIALS):
            order = rng.permutation(len(timings))
            known, new = order[:count], order[count:]
            report = compare(held_out(terms[known], latency_ms[known], weights), latency_ms[known], "leave-one-out")
            found.append(below(report, terms[new] @ fit(terms[known], latency_ms[known], weights), latency_ms[new]))
        yield {"bounds_from": f"calibrations on {count} random subnets, checked on the others"} | means(found)


def below(report: ErrorReport, predicted: np.ndarray, measured: np.ndarray) -> list[float]:
    """Shares of networks below their p50 and p90, and below the p90 of errors taken as normal and centred."""
    assert report.mape is not None
    normal = 1 + normal_excess(report.mape, report.networks, P90)
    return [float((measured <= ratio * predicted).mean()) for ratio in (report.ratio(P50), report.ratio(P90), normal)]


def means(found: list[list[float]]) -> dict[str, Any]:
    p50, p90, normal = np.mean(found, axis=0)
    return {"below_p50": round(p50, 3), "below_p90": round(p90, 3), "below_p90_of_centred_normal_errors": round(normal, 3)}


def nested_below(timings: list[Timing], batch: int) -> list[tuple[bool, bool]]:
    """Whether each network's latency is below its p50 and p90; it is in neither the fit nor the error they come from."""
    terms = network_terms(timings, "fp32", batch)
    weights = prior_weights(PRIOR, "fp32", batch)
    latency_ms = np.array([timing.latency_ms for timing in timings])
    found = []
    for i, measured in enumerate(latency_ms):
        others = np.arange(len(timings)) != i
        estimate = float(terms[i] @ fit(terms[others], latency_ms[others], weights))
        report = compare(held_out(terms[others], latency_ms[others], weights), latency_ms[others], "leave-one-out")
        p50, p90 = (estimate * report.ratio(confidence) for confidence in (P50, P90))
        found.append((bool(measured <= p50), bool(measured <= p90)))
    return found


if __name__ == "__main__":
    main()
