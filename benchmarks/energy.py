"""Energy of real devices: errors on what was not fitted; one JSON line per claim.

python benchmarks/energy.py --reference ../shared/reference

Each line has the mean and the largest relative error, the rank correlation, the measuring boundary, and the error asked for.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fbnet_ops
import judged_energy
import mlperf_edge

ASKED = {"raspi4-tflite": (0.06, 0.20), "raspi4-tflite-int8": (0.05, 0.25)}
"""Mean and largest error asked for, by platform; 9% on average for the others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True)
    args = parser.parse_args()
    for claims in (boards, operations, judged):
        for line in claims(args.reference):
            print(json.dumps(line), flush=True)


def boards(reference: Path) -> Iterator[dict[str, Any]]:
    """Whole networks at the mains: each network, and each family, predicted by a fit without it."""
    for name in mlperf_edge.BOARDS:
        platform = mlperf_edge.platform(reference, name)
        assert platform.energy is not None
        error = platform.energy.error
        assert error is not None
        assert error.mape is not None
        assert error.worst is not None
        mean, worst = ASKED.get(name, (0.09, None))
        yield {
            "claim": f"{name}, energy of networks left out",
            "boundary": platform.energy.boundary,
            "networks": error.networks,
            "mape": error.mape,
            "worst": error.worst,
            "spearman": error.spearman,
            "whole_family_left_out": platform.details["error of energy, a whole family left out"],
            "latency_mape": platform.error.mape,
            "asked": {"mape": mean, "worst": worst},
            "met": error.mape <= mean and error.worst <= (worst or error.worst),
        }


def operations(reference: Path) -> Iterator[dict[str, Any]]:
    """HW-NAS-Bench's operations, and networks as sums of them: each operation without layers of its shape."""
    for table, device in fbnet_ops.DEVICES.items():
        for metric, unit in (("latency", "ms"), ("energy", "mj")):
            if metric == "energy" and device.boundary is None:
                continue
            fitted = fbnet_ops.fit(reference, f"{table}_{unit}", device)
            for size in device.sizes:
                report = fitted.networks(size)
                assert report.mape is not None
                blocks = fitted.block_mape(size)
                mean, of_blocks = (0.04, 0.09) if (table, metric) == ("tx2", "energy") else (0.10, None)
                yield {
                    "claim": f"{device.name}, {metric} at {size} px",
                    "boundary": device.boundary if metric == "energy" else None,
                    "networks": report.networks,
                    "mape": report.mape,
                    "worst": report.worst,
                    "spearman": report.spearman,
                    "block_mape": round(blocks, 4),
                    "asked": {"mape": mean, "block_mape": of_blocks},
                    "met": report.mape <= mean and blocks <= (of_blocks or blocks),
                }


def judged(reference: Path) -> Iterator[dict[str, Any]]:
    """GPUs' traces by two powers, and the factors of energies that no network was measured for."""
    for gpu, power in judged_energy.powers(reference).items():
        yield {
            "claim": f"{gpu}: training traces left out, by a waiting and a busy power",
            "boundary": "graphics card",
            "traces": power.traces,
            "mape": round(power.mape, 4),
            "worst": round(power.worst, 4),
            "waiting_w": round(power.waiting_w, 1),
            "busy_w": round(power.busy_w, 1),
            "asked": {"mape": 0.12},
            "met": power.mape <= 0.12,
        }
    for platform in judged_energy.platforms(reference):
        assert platform.energy is not None
        assert platform.energy.error is not None
        yield {
            "claim": f"{platform.name}, energy: judged, no network was compared",
            "boundary": platform.energy.boundary,
            "power_w": platform.energy.power_w,
            "expected_factor": platform.energy.error.expected_factor,
        }


if __name__ == "__main__":
    main()
