"""Little data: a supernet started from a trained one against the same supernet from scratch, on ELPV's solar cells.

    ofa data elpv && python benchmarks/transfer.py runs/demo --out runs/transfer

Both train by the recipe of `ofa train --init`, for the same steps on the same images; parts of the training data are drawn
with the seed, stratified. Balanced accuracy (mean recall of the classes) on the test cells, of the largest, the smallest and
ten random subnets, recalibrated. A run that is finished is not trained again. Prints one JSON line per share of the data.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ofa.datasets import Arrays, data_root, read_source
from ofa.evaluation import Evaluator
from ofa.run import RunDirectory
from ofa.training import Trainer
from ofa.transfer import transfer_recipe

RANDOM = 10


def write_share(data: Path, share: float, seed: int, out: Path) -> Path:
    """Training images by a share of each class, and all test images, as an .npz."""
    source = read_source(str(data), data_root())
    train, test = source.parts["train"], source.parts["test"]
    assert isinstance(train, Arrays)
    assert isinstance(test, Arrays)
    rng = np.random.default_rng(seed)
    kept = []
    for label in range(len(source.classes)):
        members = rng.permutation(np.flatnonzero(train.labels == label))
        kept.append(members[: round(share * len(members))])
    rows = np.sort(np.concatenate(kept))
    arrays = {"x_train": train.images[rows], "y_train": train.labels[rows], "x_test": test.images, "y_test": test.labels}
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(out, **arrays, classes=np.array(source.classes))
    return out


def balanced_accuracy(run: RunDirectory) -> dict[str, float]:
    """Of the largest, the smallest, and random subnets on average."""
    evaluator = Evaluator(run)
    space = run.space
    batches = evaluator.data.batches("test", batch_size=200, resolution=8, shuffle=False, augment=False)
    labels = torch.cat([labels for _, labels in batches]).numpy()  # in the order that `correct` has
    subnets = [space.largest(), space.smallest(), *space.decode(space.sample(RANDOM, np.random.default_rng(0)))]
    values = []
    for subnet in subnets:
        correct = evaluator.correct(subnet, "test")
        values.append(float(np.mean([correct[labels == label].mean() for label in np.unique(labels)])))
    return {"largest": values[0], "smallest": values[1], "random": float(np.mean(values[2:]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a finished run to start from")
    parser.add_argument("--data", type=Path, default=Path("elpv.npz"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.3, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="default: that of `ofa train --init`")
    args = parser.parse_args()
    for share in args.shares:
        found: dict[str, list[dict[str, float]]] = {"scratch": [], "initialised": []}
        started, recipe = time.perf_counter(), None
        for seed in args.seeds:
            data = args.out / f"data-{share:g}-{seed}.npz"
            if not data.exists():
                write_share(args.data, share, seed, data)
            recipe, space = transfer_recipe(RunDirectory.open(args.source), str(data), args.epochs)
            for name, init in (("scratch", None), ("initialised", recipe.init)):
                own = replace(recipe, init=init, seed=seed)
                run = RunDirectory.create(args.out / f"{name}-{share:g}-{seed}", own, space)
                if not run.weights_path.exists():
                    Trainer(run, quiet=True).train()
                found[name].append(balanced_accuracy(run))
        assert recipe is not None
        line = {"share": share, "seeds": len(args.seeds), "epochs": recipe.phases[0].epochs, "batch": recipe.batch_size}
        for name, rows in found.items():
            line |= {f"{name}_{key}": [round(100 * row[key], 2) for row in rows] for key in rows[0]}
        for key in ("largest", "smallest", "random"):
            gain = [100 * (b[key] - a[key]) for a, b in zip(found["scratch"], found["initialised"], strict=True)]
            line[f"gain_{key}"] = round(float(np.mean(gain)), 2)
        print(json.dumps(line | {"seconds": round(time.perf_counter() - started)}), flush=True)


if __name__ == "__main__":
    main()
