"""Profile a space in LiteRT or ExecuTorch, and compare what the table predicts with the latency of exported subnets.

    python benchmarks/exported_latency.py --space fmnist --out F --results benchmarks/results/exported_latency.json

Random subnets that the profile does not know are exported by `ofa export`'s own converter, in fp32, and visited in the
same rounds as the blocks, so that both saw the same machine. A line per subnet: measured, predicted, error. Times are kept
in F as they come; the same command goes on after a kill. Needs the extra litert, or executorch.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latency_tables.on_device.litert_runtime import LitertRuntime
from latency_tables.on_device.ort_runtime import machine
from latency_tables.on_device.results import Results, read
from latency_tables.on_device.timing import Item, ProgressLine, run
from latency_tables.profiling.assemble import assemble, network_times
from latency_tables.profiling.block_power import modelled
from latency_tables.profiling.executorch_runtime import ExecutorchRuntime
from latency_tables.profiling.kit import files_of
from latency_tables.profiling.plan import Settings, SpacePlan
from ofa.deploy.formats.catalogue import find_format
from ofa.deploy.formats.format import Deployable
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.files.atomic import write_json
from ofa.nets.plain import build_net
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.subnet import Subnet

SEED = 100
"""Of the exported subnets; those of the profile have another."""


def exported(format: str, space: SearchSpace, subnet: Subnet, file: Path) -> bytes:
    """The file of a subnet with random weights, which its latency does not depend on; kept."""
    if not file.exists():
        net = build_net(space, subnet, torch.Generator().manual_seed(0)).eval()
        channels = space.in_channels
        image = ImageInput(subnet.resolution, (0.5,) * channels, (0.25,) * channels)
        find_format(format).convert(Deployable(space, subnet, net, image, {}), "fp32", None, file)
    return file.read_bytes()


def measure(runtime_name: str, space: SearchSpace, count: int, settings: Settings, folder: Path) -> dict[str, Any]:
    """Measured and predicted latency of exported subnets, and the table's own error."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = SpacePlan.of(space, settings)
    genes = space.sample(count, np.random.default_rng(SEED))
    subnets = {f"x{i}@{subnet.resolution}": subnet for i, subnet in enumerate(space.decode(genes))}
    contents = {
        name: exported(runtime_name, space, subnet, folder / f"{name}.{runtime_name}") for name, subnet in subnets.items()
    }
    items = {name: Item(name.split("@")[0], space.in_channels, subnet.resolution) for name, subnet in subnets.items()}
    chains = (*plan.timing.chains, *((name,) for name in items))
    plan = replace(plan, timing=replace(plan.timing, items=plan.timing.items | items, chains=chains))
    runtime: LitertRuntime | ExecutorchRuntime
    if runtime_name == "litert":
        files = files_of(runtime_name, plan)
        runtime = LitertRuntime(lambda item: contents.get(f"{item.model}@{item.size}") or files(item), None, settings.seed)
    else:
        runtime = ExecutorchRuntime(plan, None, contents)
    facts = {**machine(), "runtime": runtime.name, "threads": "1", "device": "cpu"}
    csv = folder / f"{space.name}-{runtime_name}.csv"
    results = Results(csv, plan.timing, facts)
    try:
        run(plan.timing, runtime, results, ProgressLine(sys.stderr.isatty()))
    finally:
        results.close()
    rows = read(csv, plan.timing)[1]
    platform = assemble(plan, space.name, rows, facts, modelled("not read"), {}, str(csv))
    measured = network_times(replace(plan, networks=subnets), rows, str(csv))
    predicted = platform.costs(space).latency_ms(genes)
    errors = predicted / measured - 1
    return {
        "space": space.name,
        "resolutions": list(space.resolutions),
        "date": date.today().isoformat(),
        **{key: facts[key] for key in ("processor", "runtime")},
        "held_out": {name: getattr(platform.error, name) for name in ("networks", "mape", "worst", "spearman")},
        "without_calm_runs": platform.details["without calm runs"],
        "measured_ms": [float(f"{ms:.4g}") for ms in measured],
        "predicted_ms": [float(f"{ms:.4g}") for ms in predicted],
        "errors": [round(float(error), 4) for error in errors],
    }


def main() -> None:
    """Measure, print, and keep the figures of each space."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", required=True)
    parser.add_argument("--runtime", choices=("litert", "executorch"), default="litert")
    parser.add_argument("--resolutions", type=int, nargs="+", metavar="PX", help="only these (default: all)")
    parser.add_argument("--subnets", type=int, default=12)
    parser.add_argument("--networks", type=int, default=30, help="whole subnets of the profile, a third for its fit")
    parser.add_argument("--runs", type=int, default=50, help="least number of runs of each block")
    parser.add_argument("--out", type=Path, required=True, metavar="F", help="folder of times and exported files")
    parser.add_argument("--results", type=Path, metavar="FILE", help="a JSON to which the figures are added")
    args = parser.parse_args()
    space = load_space(args.space)
    space = space if args.resolutions is None else space.restrict(resolutions=args.resolutions)
    fit = -(-args.networks // 3)
    settings = Settings(runs=args.runs, fit_networks=fit, test_networks=args.networks - fit)
    found = measure(args.runtime, space, args.subnets, settings, args.out)
    for measured, predicted, error in zip(found["measured_ms"], found["predicted_ms"], found["errors"], strict=True):
        print(f"{measured:8.4g} ms measured, {predicted:8.4g} ms predicted, {100 * error:+.1f}%")
    print(f"the table's own check: {found['held_out']}")
    if args.results is not None:
        kept = json.loads(args.results.read_text()) if args.results.exists() else []
        write_json(
            args.results, [*(old for old in kept if any(old[key] != found[key] for key in ("space", "runtime"))), found]
        )


if __name__ == "__main__":
    main()
