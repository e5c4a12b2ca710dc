"""List the trained supernets that ship, or show one: data and their licence, accuracy, front, cost of the training.

A name of the list is accepted wherever a run is: `ofa query NAME ...`. A file or folder of that name would win; `zoo:NAME`
is always the zoo.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping
from typing import Any

from ofa.cli.shared.options import open_predictor
from ofa.files.bundle import Bundle
from ofa.files.vouched import read_vouched_json
from ofa.runs.zoo import PREFIX, zoo_file, zoo_names

EXAMPLE = "ofa zoo\n  ofa zoo fashion-mnist"
FRONT_POINTS = 7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `ofa zoo`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of the list; all if absent")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print and return facts."""
    if args.name is not None:
        facts = _facts(args.name) | {"front": _front(args.name)}
        if not args.json:
            _show(facts)
        return facts
    rows = [_facts(name) for name in zoo_names()]
    if not args.json:
        _table(rows)
    return {"zoo": rows}


def _facts(name: str) -> dict[str, Any]:
    """Facts about a bundle, from its manifest and its files."""
    from ofa.files.schema import load_yaml

    file = zoo_file(name)
    bundle = Bundle.open(file)
    manifest = bundle.manifest
    recipe = load_yaml(bundle.root / "recipe.yaml")
    result = read_vouched_json(bundle.root / "result.json", "install the package again")
    largest, smallest = result["subnets"][:2]
    return {
        "name": name.removeprefix(PREFIX),
        "file": str(file),
        "bytes": file.stat().st_size,
        "description": recipe.get("description", ""),
        "data": manifest["data"],
        "kept_images": manifest["kept_images"],
        "space": manifest["space"],
        "recipe": _recipe(recipe),
        "test_images": result["images"],
        "top1": {
            "smallest": result["smallest_top1"],
            "mean": result["random_top1_mean"],
            "largest": result["largest_top1"],
            "subnets": len(result["subnets"]) - 2,
        },
        "macs_m": {"smallest": smallest["macs_m"], "largest": largest["macs_m"]},
        "params_m": {"smallest": smallest["params_m"], "largest": largest["params_m"]},
        "training": manifest["training"],
        "tools": manifest["tools"],
    }


def _recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    phases = recipe["phases"]
    return {
        "phases": [phase["name"] for phase in phases],
        "epochs": sum(phase["epochs"] + phase.get("warmup_epochs", 0) for phase in phases),
        "batch_size": recipe["batch_size"],
    }


def _front(name: str) -> list[dict[str, float]]:
    """Some of the most accurate subnets for their operations, as the bundle's predictor has them."""
    import numpy as np

    from latency_tables import load_platform
    from ofa.runs.run_files import RunFiles
    from search.fronts.find import FRONT_BUDGET, predicted_front
    from search.pareto.front import thin
    from search.problem.problem import Problem

    run = RunFiles.open(zoo_file(name))
    predictor = open_predictor(run)[0]
    costs = load_platform("edge-int8").costs(run.space)  # any: operations are the same everywhere
    problem = Problem(space=run.space, predictor=predictor, costs={"any": costs})
    front = predicted_front(problem, "macs_m", "any", np.random.default_rng(0), FRONT_BUDGET)
    chosen = front.genes[thin(front.cost, front.top1, FRONT_POINTS)]
    names = ("macs_m", "params_m")
    values = [costs.of(metric, chosen).tolist() for metric in names]
    return [
        {"predicted_top1": top1, **dict(zip(names, row, strict=True))}
        for top1, *row in zip(predictor.top1(chosen).tolist(), *values, strict=True)
    ]


def _table(rows: list[dict[str, Any]]) -> None:
    if not rows:
        print("no trained supernet ships with this version")
        return
    header = ("name", "data", "licence", "test top-1: smallest", "mean", "largest", "MACs", "training", "energy", "size")
    lines = [header] + [
        (
            row["name"],
            row["data"]["source"],
            _licence(row["data"]),
            *(_percent(row["top1"][key]) for key in ("smallest", "mean", "largest")),
            f"{row['macs_m']['smallest']:.2g} to {row['macs_m']['largest']:.2g} M",
            _seconds(row["training"]["train_seconds"]),
            _joules(row["training"]["train_energy_j"]),
            f"{row['bytes'] / 1e6:.1f} MB",
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    print("\nofa zoo NAME shows one; ofa query NAME ... asks it")


def _show(facts: dict[str, Any]) -> None:
    """One of them, for people."""
    data, top1, training = facts["data"], facts["top1"], facts["training"]
    images = ", ".join(f"{part} {count:,}" for part, count in data["images"].items())
    kept = ", ".join(f"{part} {count:,}" for part, count in facts["kept_images"].items() if count) or "none"
    recipe = facts["recipe"]
    lines = {
        "data": f"{data['source']}: {images} images of {len(data['classes'])} classes; licence {_licence(data)}",
        "images inside": kept,
        "recipe": f"{recipe['epochs']} epochs of batches of {recipe['batch_size']}: {', '.join(recipe['phases'])}; "
        f"{facts['description']}",
        "space": f"{facts['space']['name']} (fingerprint {facts['space']['fingerprint']})",
        "test top-1": f"smallest {_percent(top1['smallest'])}, mean of {top1['subnets']} {_percent(top1['mean'])}, largest "
        f"{_percent(top1['largest'])}, of {facts['test_images']:,} images, nothing retrained",
        "training": f"{_seconds(training['train_seconds'])}; energy {_joules(training['train_energy_j'])} "
        f"({training['train_energy_source']})",
        "made with": ", ".join(f"{tool} {version}" for tool, version in facts["tools"].items()),
        "file": f"{facts['file']}, {facts['bytes'] / 1e6:.2f} MB",
    }
    print(facts["name"])
    for name, text in lines.items():
        print(textwrap.fill(text, 110, initial_indent=f"  {name:14}", subsequent_indent=" " * 16, break_on_hyphens=False))
    print("\n  front (predicted)   top-1     MACs   parameters")
    for point in facts["front"]:
        print(f"{_percent(point['predicted_top1']):>27}  {point['macs_m']:5.2f} M  {point['params_m']:9.3f} M")
    print(f"\nofa query {facts['name']} --platform edge-int8 --energy-mj 0.02 --out my-net asks it")


def _licence(data: Mapping[str, Any]) -> str:
    return data["licence"] or "not stated"


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f}%"


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value / 60:.0f} min"


def _joules(value: float | None) -> str:
    return "unknown" if value is None else f"{value / 1000:.0f} kJ"
