"""What matters when CIFAR-10 is trained at length: short runs that differ in one thing, and the recipes that follow.

`length.yaml` says what is equal (`base`) and how each run differs. Each run leaves a row of results: its changes, epochs,
core-seconds (of training, in one go: none if it was resumed), and the top-1 of the largest net, of the mean of the same 20
random architectures and of the smallest one. A run that was stopped goes on at its last checkpoint; one that has a row is
left alone.

    python benchmarks/quality/length.py prepare data/cifar10 data/cifar10.npz  # the JPEG files as one file, as they are
    OMP_NUM_THREADS=1 python benchmarks/quality/length.py run NAME ... --work runs/length
    python benchmarks/quality/length.py table
    OMP_NUM_THREADS=1 python benchmarks/quality/length.py norms NAME ... --work runs/length  # of gradients and weights
    OMP_NUM_THREADS=1 python benchmarks/quality/length.py compare A B ... --work runs/length  # largest nets, A minus each
    OMP_NUM_THREADS=1 python benchmarks/quality/length.py speed NAME ...  # images per core-second of a gradient
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch.nn import functional as F

from ofa import Supernet
from ofa.files import schema
from ofa.measure.allocator import keep_freed_memory
from ofa.measure.evaluator import SubnetEvaluator
from ofa.runs.recipe import Recipe, opened_spaces
from ofa.runs.run_directory import RunDirectory
from ofa.space import SearchSpace
from ofa.space.shapes import macs, params, walk
from ofa.space.subnet import Subnet
from ofa.training.step import GradientStep
from ofa.training.trainer import Trainer

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "quality" / "length.jsonl"
RANDOM_SUBNETS = 20


def merged(base: Any, change: Any) -> Any:
    """`base` with the keys of `change` put over it, at every depth; lists are replaced."""
    if isinstance(base, dict) and isinstance(change, dict):
        return base | {key: merged(base.get(key), value) for key, value in change.items()}
    return change


def definition(name: str) -> tuple[Recipe, SearchSpace, dict[str, Any]]:
    """A run's recipe and space, and its changes as written."""
    raw = yaml.safe_load((HERE / "length.yaml").read_text())
    change = raw["runs"][name]
    facts = merged(raw["base"], change)
    patch, tested = facts.pop("patch", {}), facts.pop("test", False)
    phase = facts.pop("phase", None)
    if phase is not None:
        facts["phases"] = [phase]
    space = schema.build(SearchSpace, raw["spaces"][facts["space"]], f"length.yaml: spaces: {facts['space']}")
    if "resolutions" in facts:
        space = replace(space, resolutions=tuple(facts.pop("resolutions")))
    recipe = schema.build(Recipe, facts, f"length.yaml: runs: {name}")
    return recipe, space, {"changes": change, "patch": patch, "tested": tested}


def architectures(space: SearchSpace, side: int) -> list[Subnet]:
    """The largest, the smallest, and the same 20 random architectures for every run in a space, all at one resolution."""
    random = space.decode(space.sample(RANDOM_SUBNETS, np.random.default_rng(0)))
    return [replace(subnet, resolution=side) for subnet in (space.largest(), space.smallest(), *random)]


def measured(evaluator: SubnetEvaluator, space: SearchSpace, alone: bool, side: int, split: str) -> dict[str, Any]:
    """Top-1 in percent with standard errors; of the largest net only where nothing else was trained."""
    subnets = architectures(space, side)[: 1 if alone else None]
    right = np.array([evaluator.correct(subnet, split) for subnet in subnets], dtype=float)
    top1, count = 100 * right.mean(1), right.shape[1]
    row = {f"{split}_images": count, "largest": top1[0], "largest_se": error(right[0])}
    if not alone:
        mean = right[2:].mean(0)  # of each image, over architectures: what they share is in its deviation
        row |= {"smallest": top1[1], "smallest_se": error(right[1]), "mean20": 100 * mean.mean(), "mean20_se": error(mean)}
        row |= {"each": [round(float(value), 2) for value in top1[2:]]}
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}


def error(values: np.ndarray) -> float:
    """The standard error of a mean over images, in percent."""
    return float(100 * values.std() / len(values) ** 0.5)


def train(name: str, work: Path) -> dict[str, Any]:
    """Train a run to its end, or from where it was left, and measure it."""
    recipe, space, facts = definition(name)
    run = RunDirectory.create(work / name, recipe, space)
    trainer = Trainer(run, quiet=True)
    for module in trainer.supernet.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = facts["patch"].get("norm_momentum", module.momentum)
    resumed = (run.checkpoint_folder / "latest.json").exists()
    begun = time.process_time()
    trainer.train()
    spent = None if resumed else round(time.process_time() - begun, 1)
    rows = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    alone = opened_spaces(recipe, space)[-1].largest() == opened_spaces(recipe, space)[-1].smallest()
    side = space.resolutions[-1]
    evaluator = SubnetEvaluator(trainer.result, trainer.data, recipe.evaluation)
    epochs = sum(phase.total_epochs for phase in recipe.phases)
    largest, smallest = (list(walk(space, subnet)) for subnet in architectures(space, side)[:2])
    return {
        "name": name,
        **facts,
        "epochs": epochs,
        "images": epochs * trainer.steps_per_epoch * recipe.batch_size,
        "train_seconds": round(sum(row["seconds"] for row in rows), 1),
        "core_seconds": spent,
        "images_per_s": round(float(np.mean([row["images_per_s"] for row in rows])), 1),
        "loss": [round(row["loss"], 4) for row in rows],
        "top1_largest_by_epoch": [round(100 * row["top1_largest"], 2) for row in rows if "top1_largest" in row],
        "macs_m": [round(macs(ops) / 1e6, 3) for ops in (largest, smallest)],
        "params_k": [round(params(ops) / 1e3, 1) for ops in (largest, smallest)],
        "validation": measured(evaluator, space, alone, side, "validation"),
        **({"test": measured(evaluator, space, alone, side, "test")} if facts["tested"] else {}),
    }


def norms(name: str, work: Path) -> dict[str, Any]:
    """Norms of eight batches' gradients before and after a run, clipping left out, and of the weights that decay.

    A norm follows each of these weights, so what they compute does not depend on their size, but their step does: it turns
    them by the rate over their norm. Decay is what keeps the norm small.
    """
    recipe, space, _ = definition(name)
    run = RunDirectory.create(work / name, recipe, space)
    trainer = Trainer(run, quiet=True)
    found: dict[str, Any] = {"name": name}
    for moment, net in (("before", trainer.supernet), ("after", run.supernet())):
        net.train()
        gradients = GradientStep(net, recipe, 0, opened_spaces(recipe, space)[0])
        batches = trainer.data.batches(
            "train",
            batch_size=recipe.batch_size,
            resolution=space.resolutions[-1],
            shuffle=True,
            augment=True,
            epoch=0,
            limit=8 * recipe.batch_size,
        )
        values = []
        for step, (images, labels) in enumerate(batches):
            gradients(step, images, labels)
            values.append(float(torch.nn.utils.get_total_norm(p.grad for p in net.parameters() if p.grad is not None)))
        weights = torch.nn.utils.get_total_norm(p.detach() for p in net.parameters() if p.ndim > 1)
        found[moment] = {"gradients": [round(value, 2) for value in values], "weights": round(float(weights), 1)}
    return found


def speed(name: str) -> dict[str, Any]:
    """Images per second of processor time, forward and backward, the best of five batches at the largest resolution."""
    recipe, space, _ = definition(name)
    keep_freed_memory()
    net = Supernet(space).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    side, count = space.resolutions[-1], recipe.batch_size
    images = torch.randn(count, space.in_channels, side, side).to(memory_format=torch.channels_last)
    labels = torch.randint(space.classes, (count,))
    row: dict[str, Any] = {"name": name, "batch": count}
    for which, subnet in (("largest", space.largest()), ("smallest", space.smallest())):
        times = []
        for _ in range(5):
            begun = time.process_time()
            net.zero_grad(set_to_none=True)
            F.cross_entropy(net(images, subnet), labels).backward()
            times.append(time.process_time() - begun)
        row[which] = {"macs_m": round(macs(walk(space, subnet)) / 1e6, 2), "images_per_s": round(count / min(times))}
    return row


def compare(names: list[str], work: Path) -> None:
    """The first run's largest net minus each other's, on the same validation images, with the paired error."""
    right = {}
    for name in names:
        run = RunDirectory.open(work / name)
        evaluator = SubnetEvaluator(run.supernet(), run.data(), run.recipe.evaluation)
        right[name] = evaluator.correct(architectures(run.space, run.space.resolutions[-1])[0]).astype(float)
    for name in names[1:]:
        difference = right[names[0]] - right[name]
        row = {
            "minus": [names[0], name],
            "points": round(100 * float(difference.mean()), 2),
            "se": round(error(difference), 2),
        }
        print(json.dumps(row), flush=True)


def prepare(folder: Path, target: Path) -> None:
    """An image folder `train|test/CLASS/*.jpg` of equal sizes as one `.npz`, in the order of its names."""
    from PIL import Image

    classes = sorted(path.name for path in (folder / "train").iterdir())
    arrays: dict[str, Any] = {"classes": np.array(classes)}
    for split in ("train", "test"):
        files = [(path, label) for label, name in enumerate(classes) for path in sorted((folder / split / name).iterdir())]
        arrays[f"x_{split}"] = np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in files])
        arrays[f"y_{split}"] = np.array([label for _, label in files])
    np.savez(target, **arrays)


def table() -> None:
    """All rows as Markdown."""
    print("| run | split | epochs | core-s | largest | mean of 20 | smallest |\n|---|---|---|---|---|---|---|")
    for line in RESULTS.read_text().splitlines():
        row = json.loads(line)
        for split in ("validation", "test"):
            if split in row:
                kinds = ("largest", "mean20", "smallest")
                cells = [f"{row[split][k]:.2f} ± {row[split][k + '_se']:.2f}" if k in row[split] else "" for k in kinds]
                print("|", " | ".join([row["name"], split, str(row["epochs"]), str(row["core_seconds"]), *cells]), "|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("prepare", "run", "table", "norms", "compare", "speed"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--work", type=Path, default=Path("runs/length"))
    args = parser.parse_args()
    if args.verb == "prepare":
        prepare(*map(Path, args.names))
    elif args.verb == "table":
        table()
    elif args.verb == "compare":
        compare(args.names, args.work)
    elif args.verb == "speed":
        for name in args.names:
            print(json.dumps(speed(name)), flush=True)
    elif args.verb == "norms":
        for name in args.names:
            print(json.dumps(norms(name, args.work)), flush=True)
    else:
        for name in args.names:
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            done = RESULTS.read_text().splitlines() if RESULTS.exists() else []
            if name in [json.loads(line)["name"] for line in done]:
                continue
            row = train(name, args.work)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps({key: row[key] for key in ("name", "images_per_s", "core_seconds", "validation")}), flush=True)


if __name__ == "__main__":
    main()
