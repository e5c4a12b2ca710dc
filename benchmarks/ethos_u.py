"""Fit the platforms ethos-u55-128 and ethos-u65-256 to estimates of Arm's compiler Vela for random subnets.

python benchmarks/ethos_u.py [--files FOLDER]     (needs the extra ethos-u)

With --files, the folder of benchmarks/microcontroller_memory.py, compiles the int8 files there and writes the
estimates to benchmarks/results/ethos_u.json; then, in both cases, fits the platforms to these estimates, each subnet left
out once in five folds, and writes latency_tables/platforms/ethos-u*.yaml.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from microcontroller_memory import DRAWN, TINY_SEED, space_of
from scipy.optimize import nnls

from latency_tables import Platform, load_platform, save_platform
from latency_tables.blocks.fused_ops import OP_KINDS, FusedOp, fuse
from latency_tables.blocks.memory import peak_kb
from latency_tables.cost_models.op_model import LatencyModel, OpTime
from latency_tables.cost_models.uncertainty import compare
from ofa.space.shapes import BlockShape, walk_blocks

RESULTS = Path(__file__).parent / "results" / "ethos_u.json"
PLATFORMS = Path(__file__).resolve().parents[1] / "latency_tables" / "platforms"
MORE = (("fmnist", 6, 5), ("cifar10-depthwise", 5, 5), ("small-rgb-64", 5, 5), ("grey-48", 5, 5))
SWISH = "bignas"
"""A space left out: swish takes two operations on whole maps, which the models of platforms do not know."""
FOLDS = 5
CLOCKS = {
    "ethos-u55-128": "128 MACs per cycle at 500 MHz; feature maps in SRAM, weights in flash of 0.5 GB/s",
    "ethos-u65-256": "256 MACs per cycle at 1 GHz; feature maps in SRAM, weights in DRAM",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path)
    args = parser.parse_args()
    if args.files is not None:
        RESULTS.write_text(json.dumps(estimates(args.files)) + "\n")
    found = json.loads(RESULTS.read_text())
    blocks = {name: block for name, block in drawn().items() if name in found["subnets"]}
    for accelerator in CLOCKS:
        save_platform(platform(accelerator, found, blocks), PLATFORMS / f"{accelerator}.yaml")


def drawn() -> dict[str, list[BlockShape]]:
    """The blocks of each subnet, by its name."""
    found = {}
    for name, count, seed in (entry for entry in (*DRAWN, *MORE) if entry[2] != TINY_SEED and entry[0] != SWISH):
        space = space_of(name)
        for i, subnet in enumerate(space.decode(space.sample(count, np.random.default_rng(seed)))):
            found[f"{name}-{seed}-{i}"] = list(walk_blocks(space, subnet))
    return found


def estimates(files: Path) -> dict[str, object]:
    """The compiler's estimates for the files of a folder."""
    from importlib import metadata

    from ofa.deploy.formats.tflite.ethos_u_format import ACCELERATORS, compile_for
    from ofa.deploy.formats.tflite.tflite_file import rewrite

    subnets = {}
    for name in drawn():
        if (file := files / f"{name}.tflite").exists():
            content = rewrite(file.read_bytes(), planned=False)
            told = {accelerator: compile_for(content, accelerator)[1] for accelerator in ACCELERATORS}
            subnets[name] = {at: [each["latency_ms"], each["sram_kb"]] for at, each in told.items()}
    compiler = f"ethos-u-vela {metadata.version('ethos-u-vela')}"
    return {"compiler": compiler, "values": ["latency_ms", "sram_kb"], "subnets": subnets}


def terms(ops: list[FusedOp]) -> list[float]:
    """What the coefficients multiply: MB of all weights; MMACs, MB of activations and operations of each kind."""
    found = [sum(op.weights for op in ops) * 1e-6]
    for kind in OP_KINDS:
        own = [op for op in ops if op.kind == kind]
        found += [sum(op.macs for op in own) * 1e-6, sum(op.activations for op in own) * 1e-6, len(own)]
    return found


def seen(blocks: dict[str, list[BlockShape]]) -> dict[str, tuple[float, ...]]:
    """Least and most feature-map elements of each kind of operation."""
    sizes: dict[str, list[int]] = {}
    for op in (op for found in blocks.values() for block in found for op in fuse(block, False)):
        sizes.setdefault(op.kind, []).append(op.activations)
    return {kind: (float(min(found)), float(max(found))) for kind, found in sorted(sizes.items())}


def fit(matrix: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Non-negative least squares of relative errors."""
    unit = np.maximum(matrix.max(axis=0), 1e-12)
    weights, _ = nnls(matrix / unit / times[:, None], np.ones(len(times)))
    return np.asarray(weights / unit)


def platform(accelerator: str, found: dict, blocks: dict[str, list[BlockShape]]) -> Platform:
    """The fitted platform; its error is that of the subnets left out."""
    names = list(blocks)
    times, sram_kb = np.array([found["subnets"][name][accelerator] for name in names]).T
    matrix = np.array([terms([op for block in blocks[name] for op in fuse(block, False)]) for name in names])
    fold = np.random.default_rng(0).permutation(len(names)) % FOLDS
    left_out = np.empty(len(names))
    for k in range(FOLDS):
        left_out[fold == k] = matrix[fold == k] @ fit(matrix[fold != k], times[fold != k])
    note = f"{len(names)} random subnets of 6 spaces without swish, each left out once in {FOLDS} folds"
    error = compare(left_out, times, note)
    maps = np.array([max(peak_kb(block, "int8") for block in blocks[name]) for name in names])
    low, middle, high = np.quantile(sram_kb / maps, [0, 0.5, 1])
    edge = load_platform("edge-int8")
    ratio = np.array([sum(edge.block_ms(block) for block in blocks[name]) for name in names]) / times
    print(f"{accelerator}: {100 * error.mape:.1f}%, worst {100 * error.worst:.1f}%; SRAM over maps {low:.2f} to {high:.2f}")
    print(f"edge-int8 over it: {np.quantile(ratio, [0, 0.5, 1]).round(2)}")
    given = iter([float(f"{weight:.4g}") for weight in fit(matrix, times)])
    of_weights = next(given)
    fields = ("ms_per_mmac", "ms_per_activation_mb", "overhead_ms")
    ops = {kind: OpTime(ms_per_weight_mb=of_weights, **{name: next(given) for name in fields}) for kind in OP_KINDS}
    return Platform(
        name=accelerator,
        device=f"Arm {accelerator.replace('ethos-u', 'Ethos-U')}, {CLOCKS[accelerator]}",
        runtime=f"{found['compiler']}, the compiler's estimate",
        precision="int8",
        numerics=replace(edge).numerics,
        kind="calibrated",
        description="A model of operations fitted to what the compiler says of random subnets; no accelerator was measured. "
        "Networks with swish take up to twice as long as it says.",
        source=f"compiler's estimate: {found['compiler']} on {len(names)} files of ofa export (benchmarks/ethos_u.py)",
        licence="MIT",
        details={
            "sram": f"the compiler uses {low:.2f} to {high:.2f} times activations_kb of SRAM (median {middle:.2f}): "
            "it keeps weights there too, and copies of padded maps; ofa export --format ethos-u tells it for one network"
        },
        error=error,
        latency=LatencyModel(ops=ops, fuse_add=False, seen=seen(blocks)),
    )


if __name__ == "__main__":
    main()
