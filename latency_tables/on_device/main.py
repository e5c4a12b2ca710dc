"""Time the blocks of this kit on this device. Results are kept as they come; after a stop the same command continues.

Needs Python 3.9 or newer with the package that README.md names. Import the results with:
ofa profile --import results.csv --space SPACE --out FILE
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from latency_tables.on_device.litert_runtime import LitertRuntime
from latency_tables.on_device.ort_runtime import OrtRuntime, machine
from latency_tables.on_device.results import Results
from latency_tables.on_device.timing import Item, ProgressLine, TimingPlan, run

MANIFEST, MODELS = "manifest.json", "models.zip"
RUNTIMES: dict[str, type[LitertRuntime] | type[OrtRuntime]] = {"onnxruntime": OrtRuntime, "litert": LitertRuntime}
DIGEST = "sha256"
"""Key of the digest of all other entries of a manifest."""


def to_manifest(plan: TimingPlan, kit: dict[str, Any], models: bytes) -> dict[str, Any]:
    """A plan as JSON; `kit` holds the space and settings it was made from, `models` the zip file of models."""
    items = {name: [item.model, item.channels, item.size] for name, item in plan.items.items()}
    facts = {
        "plan": plan.digest,
        "models_sha256": hashlib.sha256(models).hexdigest(),
        "batch": plan.batch,
        "runs": plan.runs,
        "seed": plan.seed,
        "kit": kit,
        "items": items,
        "chains": plan.chains,
    }
    return {**facts, DIGEST: _digest(facts)}


def read_manifest(path: Path) -> dict[str, Any]:
    """The content of a manifest; raises `ValueError` if it differs from the output of `to_manifest`."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        digest = manifest.pop(DIGEST)
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        digest = manifest = None
    if digest is None or digest != _digest(manifest) or not {"models_sha256", "items", "chains"} <= manifest.keys():
        raise ValueError(f"{path}: damaged: not what was exported (another digest); unpack the kit again")
    return dict(manifest)


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def from_manifest(manifest: dict[str, Any]) -> TimingPlan:
    """The inverse of `to_manifest`."""
    items = {name: Item(*values) for name, values in manifest["items"].items()}
    chains = tuple(map(tuple, manifest["chains"]))
    return TimingPlan(manifest["plan"], items, chains, manifest["batch"], manifest["runs"], manifest["seed"])


def measure(folder: Path, threads: int | None, out: Path) -> None:
    """Measure the kit in a folder; `ValueError` where it is damaged, or `out` holds results of another kit."""
    manifest = read_manifest(folder / MANIFEST)
    models = (folder / MODELS).read_bytes()
    if hashlib.sha256(models).hexdigest() != manifest["models_sha256"]:
        raise ValueError(f"{folder / MODELS}: damaged: its digest is not that in {MANIFEST}; unpack the kit again")
    plan = from_manifest(manifest)
    with zipfile.ZipFile(folder / MODELS) as archive:
        chosen = RUNTIMES[manifest["kit"].get("runtime", "onnxruntime")]
        runtime = chosen(lambda item: archive.read(chosen.file_of(item)), threads, plan.seed)
        facts = {**machine(), "runtime": runtime.name, "threads": str(runtime.threads), "device": "cpu"}
        facts["kit"] = manifest["kit"]
        results = Results(out, plan, facts)
        try:
            run(plan, runtime, results, ProgressLine())
        finally:
            results.close()


def main(folder: Path) -> int:
    """Run the kit in a folder; returns the exit code: 0, 2 for a mistake, 130 when interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="default: one per processor; LiteRT: 1, and no more")
    parser.add_argument("--out", type=Path, default=Path("results.csv"), metavar="FILE", help="default: results.csv")
    args = parser.parse_args()
    try:
        if args.threads is not None and args.threads < 1:
            raise ValueError(f"--threads is {args.threads}; must be at least 1")
        measure(folder, args.threads, args.out)
    except (ValueError, OSError) as error:
        print(f"run.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nrun.py: stopped; run the same command to continue", file=sys.stderr)
        return 130
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        print(f"run.py: error: ONNX Runtime: {str(error).splitlines()[0][:200]}", file=sys.stderr)
        return 2
    print(f"written: {args.out}; now, where ofa is installed: ofa profile --import {args.out.name} --space SPACE --out FILE")
    return 0
