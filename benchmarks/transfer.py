"""Little data: a supernet started from a trained one against the same supernet from scratch, on ELPV's solar cells.

    ofa data elpv && ofa train configs/cifar-grey.yaml --run runs/cifar-grey
    python benchmarks/transfer.py configs/elpv.yaml --out runs/transfer --shares 0.1 --steps 300 1200

Both sides train by the same recipe, for the same steps on the same images in the same order; only the start differs. Parts
of the training data are drawn with the seed, stratified. Balanced accuracy (mean recall of the classes) on the test cells,
of the largest, the smallest and ten random subnets, recalibrated. `--held-out` measures on the training cells that were not
drawn instead: settings are chosen there. A run that is finished is not trained again. Prints a JSON line per share and
length.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import torch

from ofa.data.batches import load_data
from ofa.data.sources.read_source import Arrays, data_root, read_source
from ofa.files.atomic import read_json, write_json
from ofa.measure.accuracy import BALANCED
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.recipe import Recipe, load_recipe
from ofa.runs.run_directory import RunDirectory
from ofa.space.search_space import SearchSpace
from ofa.training.trainer import Trainer

RANDOM = 10
SUBNETS = ("largest", "smallest", "random")


def write_share(data: str, share: float, seed: int, out: Path, held_out: bool) -> Path:
    """Training images by a share of each class, and as the test part the data's own or, held out, the images not drawn."""
    source = read_source(data, data_root())
    train, test = source.parts["train"], source.parts["test"]
    assert isinstance(train, Arrays)
    assert isinstance(test, Arrays)
    rng = np.random.default_rng(seed)
    drawn = np.zeros(len(train.labels), dtype=bool)
    for label in range(len(source.classes)):
        members = rng.permutation(np.flatnonzero(train.labels == label))
        drawn[members[: round(share * len(members))]] = True
    if held_out:
        test = Arrays(train.images[~drawn], train.labels[~drawn])
    arrays = {"x_train": train.images[drawn], "y_train": train.labels[drawn], "x_test": test.images, "y_test": test.labels}
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(out, **arrays, classes=np.array(source.classes))
    return out


def of_length(recipe: Recipe, space: SearchSpace, data: Path, steps: int) -> Recipe:
    """The recipe on this data, its one phase so long that it has so many optimiser steps; measured at its end only."""
    recipe = replace(recipe, data=replace(recipe.data, source=str(data)))
    per_epoch = load_data(recipe.data, channels=space.in_channels).steps("train", recipe.batch_size, drop_last=True)
    (phase,) = recipe.phases
    warmup = ceil(steps / per_epoch * phase.warmup_epochs / phase.total_epochs) if phase.warmup_epochs else 0
    phase = replace(phase, warmup_epochs=warmup, epochs=max(1, round(steps / per_epoch) - warmup))
    evaluation = replace(recipe.evaluation, every_epochs=phase.total_epochs)
    return replace(recipe, phases=(phase,), evaluation=evaluation)


def balanced_accuracy(run: RunDirectory) -> dict[str, float]:
    """Of the largest, the smallest, and random subnets on average, in percent."""
    evaluator = evaluator_of_run(run)
    space = run.space
    subnets = [space.largest(), space.smallest(), *space.decode(space.sample(RANDOM, np.random.default_rng(0)))]
    found = [BALANCED.value(counts) for counts in evaluator.counts(subnets, "test")]
    values = [100 * value for value in found if value is not None]
    return dict(zip(SUBNETS, (values[0], values[1], float(np.mean(values[2:]))), strict=True))


def compare(recipe: Recipe, space: SearchSpace, args: argparse.Namespace, share: float, steps: int) -> dict[str, object]:
    """Train both sides with every seed; the line of a share and length."""
    found: dict[str, list[dict[str, float]]] = {start: [] for start in args.starts}
    started, epochs = time.perf_counter(), 0
    for seed in args.seeds:
        name = f"{share:g}-{seed}{'-held-out' if args.held_out else ''}"
        data = args.out / f"data-{name}.npz"
        if not data.exists():
            write_share(recipe.data.source, share, seed, data, args.held_out)
        for start, rows in found.items():
            init = recipe.init if start == "initialised" else None
            own = replace(of_length(recipe, space, data, steps), seed=seed, init=init)
            run = RunDirectory.create(args.out / f"{start}-{steps}-{name}", own, space)
            if not run.weights_path.exists():
                Trainer(run, quiet=True).train()
            measured = run.path / "balanced_accuracy.json"
            if not measured.exists():
                write_json(measured, balanced_accuracy(run))
            rows.append(read_json(measured))
            epochs = own.phases[0].total_epochs
    line: dict[str, object] = {"share": share, "steps": steps, "epochs": epochs, "seeds": args.seeds}
    for start, rows in found.items():
        line |= {f"{start}_{name}": [round(row[name], 2) for row in rows] for name in SUBNETS}
    if {"scratch", "initialised"} <= set(found):
        for name in SUBNETS:
            gains = [b[name] - a[name] for a, b in zip(found["scratch"], found["initialised"], strict=True)]
            line[f"gain_{name}"] = round(float(np.mean(gains)), 2)
    return line | {"seconds": round(time.perf_counter() - started)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="of one phase, with the key init")
    parser.add_argument("--init", help="a finished run, in place of the recipe's")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.3, 1.0])
    parser.add_argument("--steps", type=int, nargs="+", default=[300])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--starts", nargs="+", default=["scratch", "initialised"], choices=["scratch", "initialised"])
    parser.add_argument("--held-out", action="store_true", help="measure on the training cells that were not drawn")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipe, space = load_recipe(args.recipe)
    recipe = replace(recipe, init=args.init or recipe.init)
    for share in args.shares:
        for steps in args.steps:
            print(json.dumps(compare(recipe, space, args, share, steps)), flush=True)


if __name__ == "__main__":
    main()
