"""Measure this machine with both runtimes, report the errors asked for, and make what ships of it.

python benchmarks/this_machine.py measure --folder F --runtime onnxruntime --threads 1 [--space mbv3-w1.2]
python benchmarks/this_machine.py report --folder F
python benchmarks/this_machine.py fit --folder F

`measure` is `ofa profile` (minutes; it goes on after a kill) on the spaces below; tables and times are kept in F. `report`
prints a JSON line per table: its error on whole subnets that were held out. `fit` writes the platforms that ship. A table
holds for the space that was measured; what ships is a model of operations fitted to the blocks of these tables, which holds
for any space. Its error is on the held-out subnets of all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from make_platforms import predict
from scipy.optimize import nnls

from latency_tables import Platform, load_platform, save_platform
from latency_tables.calibration.calibrate import block_terms, network_terms, seen, to_model
from latency_tables.calibration.timings_csv import Timing
from latency_tables.cost_models.op_model import LatencyModel
from latency_tables.cost_models.uncertainty import compare
from latency_tables.on_device.results import read
from latency_tables.profiling.assemble import network_times, rounded
from latency_tables.profiling.plan import Settings, SpacePlan
from latency_tables.profiling.profile import ProfileTarget, profile
from ofa.space.search_space import load_space
from ofa.space.shapes import BlockShape

SPACES: dict[str, tuple[list[int] | None, Settings]] = {
    "fmnist": (None, Settings()),
    "mbv3-w1.2": ([128, 176, 224], Settings()),
    "cifar": (None, Settings()),
    "resnet50": ([128], Settings(runs=25, fit_networks=4, test_networks=8)),
}
"""Which resolutions of each space are measured (None: all), and how."""
CLAIMED = ("fmnist", "mbv3-w1.2")
"""The spaces for which errors were asked for."""
TARGETS = {"onnxruntime": 0.05, "torch": 0.07}
SPEARMAN = 0.98
NAME = "epyc-milan"
SHORT = {"onnxruntime": "ort", "torch": "torch"}
NETWORK_WEIGHT = 5.0
"""Of a whole network in the fit, beside a block."""
PLATFORMS = Path(__file__).resolve().parents[1] / "latency_tables" / "platforms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "report", "fit"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--runtime", choices=tuple(TARGETS), default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--space", choices=tuple(SPACES), action="append", help="only this one; may be given again")
    args = parser.parse_args()
    if args.what == "measure":
        measure(args)
    elif args.what == "report":
        for line in map(held_out, sorted(args.folder.glob("*.yaml"))):
            print(json.dumps(line))
    else:
        for runtime, threads in sorted({tuple(path.stem.split("-", 2)[:2]) for path in args.folder.glob("*.yaml")}):
            platform = fitted(args.folder, runtime, int(threads))
            save_platform(platform, PLATFORMS / f"{platform.name}.yaml")
            print(json.dumps({"platform": platform.name} | asdict(platform.error)))


def plan_of(name: str) -> SpacePlan:
    space, (sizes, settings) = load_space(name), SPACES[name]
    return SpacePlan.of(space if sizes is None else space.restrict(resolutions=sizes), settings)


def measure(args: argparse.Namespace) -> None:
    """One platform file and one file of times per space."""
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.space or SPACES:
        path = args.folder / f"{args.runtime}-{args.threads}-{name}.yaml"
        if path.exists():
            continue
        plan = plan_of(name)
        target = ProfileTarget(runtime=args.runtime, threads=args.threads)
        made = profile(plan.space, path.stem, plan.settings, target, path.with_suffix(".csv"), sys.stderr.isatty())
        save_platform(made, path)
        print(json.dumps(held_out(path)), flush=True)


def held_out(path: Path) -> dict[str, Any]:
    """What a measured table reaches on the whole subnets that were held out, and whether that is what was asked for."""
    runtime, threads, space = path.stem.split("-", 2)
    error, limit = load_platform(path).error, TARGETS[runtime]
    assert error.mape is not None
    found = {name: getattr(error, name) for name in ("networks", "mape", "worst", "within_5", "within_10", "spearman")}
    met = error.mape <= limit and (error.spearman or 0.0) >= SPEARMAN
    claim = {"claim": f"this machine, {runtime}, threads: {threads}, {space}: table against held-out whole subnets"}
    return claim | found | ({"target": limit, "target_spearman": SPEARMAN, "met": met} if space in CLAIMED else {})


# -- what ships ------------------------------------------------------------------------------------------------------------


def fitted(folder: Path, runtime: str, threads: int) -> Platform:
    """A model of operations from the blocks of all measured spaces, and the networks that their tables were corrected by."""
    shapes: list[BlockShape] = []
    block_ms: list[float] = []
    fit_on: list[Timing] = []
    test_on: list[Timing] = []
    names = []
    for path in sorted(folder.glob(f"{runtime}-{threads}-*.yaml")):
        names.append(path.stem.split("-", 2)[2])
        one = load_platform(path)
        assert one.table is not None
        shapes += [block.shape for block in one.table.blocks]
        block_ms += [one.table.factor * block.median_ms for block in one.table.blocks]
        plan = plan_of(names[-1])
        csv = path.with_suffix(".csv")
        whole_ms = network_times(plan, read(csv, plan.timing)[1], str(csv))
        timings = [
            Timing(space=plan.space, subnet=subnet, latency_ms=float(ms))
            for subnet, ms in zip(plan.networks.values(), whole_ms, strict=True)
        ]
        fit_on += timings[: plan.settings.fit_networks]
        test_on += timings[plan.settings.fit_networks :]
    latency = model(shapes, np.array(block_ms), fit_on)
    spaces = ", ".join(name if (sizes := SPACES[name][0]) is None else f"{name} at {sizes} px" for name in names)
    details = {
        key: fact for key, fact in one.details.items() if key in ("processor", "processors visible", "system", "device")
    }
    platform = replace(
        one,
        name=f"{NAME}-{SHORT[runtime]}-{threads}",
        kind="calibrated",
        description=f"A model of operations fitted to {len(shapes)} blocks and {len(fit_on)} whole subnets of {spaces}.",
        source="`ofa profile` on our development machine, a virtual one (benchmarks/this_machine.py)",
        licence="MIT",
        details=details,
        latency=latency,
        table=None,
        energy=None,
    )
    measured_ms = np.array([timing.latency_ms for timing in test_on])
    note = f"whole random subnets of {', '.join(names)} that were not fitted"
    return replace(platform, error=compare(predict(platform, test_on), measured_ms, note))


def model(shapes: list[BlockShape], block_ms: np.ndarray, networks: list[Timing]) -> LatencyModel:
    """Non-negative least squares: blocks by the square root of their time, whole networks by their time."""
    rows = [block_terms(shape, "fp32", 1) for shape in shapes]
    terms = np.array([*rows, *network_terms(networks, "fp32", 1)])
    terms = np.hstack([terms, np.r_[np.zeros(len(rows)), np.ones(len(networks))][:, None]])  # what a network takes besides
    wanted_ms = np.r_[block_ms, [timing.latency_ms for timing in networks]]
    scale = np.r_[np.sqrt(block_ms * np.median(block_ms)), wanted_ms[len(rows) :] / NETWORK_WEIGHT]
    unit = np.maximum(terms.max(axis=0), 1e-30)
    weights = nnls(terms / unit / scale[:, None], wanted_ms / scale)[0] / unit * (terms.max(axis=0) > 0)
    return replace(to_model(weights[:-1]), seen=seen(shapes), network_ms=rounded(float(weights[-1])))


if __name__ == "__main__":
    main()
