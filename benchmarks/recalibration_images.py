"""Accuracy lost by recalibrating batch norm on few images: how many a run has to keep.

    python benchmarks/recalibration_images.py runs/demo --out recalibration_images.json

For each number of images several disjoint sets of training images are drawn. The loss is against `REFERENCE` images, paired:
the same subnets on the same validation images. Where a run keeps its images as JPEG, `--jpeg` measures what that costs.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ofa.data.batches import Data, data_of_images
from ofa.data.stored_images import StoredImages, _decoded_jpeg, _jpeg
from ofa.files.atomic import write_json
from ofa.measure.evaluator import SubnetEvaluator
from ofa.runs.run_directory import RunDirectory

COUNTS = (64, 128, 256, 512, 1024, 2048)
REFERENCE = 8192
DRAWS = 4


def main() -> None:
    """Measure and print a line per number of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run with its data set")
    parser.add_argument("--subnets", type=int, default=6, help="random ones, beside the smallest and the largest")
    parser.add_argument("--images", type=int, help="validation images to look at (default: all)")
    parser.add_argument("--jpeg", action="store_true", help="store and read the images as JPEG first")
    parser.add_argument("--out", type=Path, help="a JSON of all figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    run = RunDirectory.open(args.run)
    data = run.data()
    space = run.space
    genes = space.sample(args.subnets, np.random.default_rng(0))
    subnets = [space.largest(), space.smallest(), *space.decode(genes)]
    pool = data.squares("train", REFERENCE, space.resolutions[-1])
    reference = measure(run, data, pool, subnets, args.images)
    rows = []
    for count in COUNTS:
        draws = [
            StoredImages(pool.pixels[start : start + count], pool.labels[start : start + count])
            for start in range(0, DRAWS * count, count)
            if start + count <= len(pool) or start == 0
        ]
        draws = [as_jpeg(images) for images in draws] if args.jpeg else draws
        lost = np.array([reference - measure(run, data, images, subnets, args.images) for images in draws])
        rows.append(row(count, lost, draws[0]))
        shown = rows[-1]
        print(
            f"{count:5d} images, {shown['megabytes']:.2f} MB: {shown['lost_mean']:+.2f} points lost on average, "
            f"worst of {lost.size} {shown['lost_worst']:+.2f}, std {shown['lost_std']:.2f}",
            flush=True,
        )
    if args.out is not None:
        facts = {
            "run": args.run.name,
            "reference_images": len(pool),
            "reference_top1": reference.tolist(),
            "jpeg": args.jpeg,
        }
        write_json(args.out, facts | {"rows": rows})
    print(json.dumps({"top1": [round(float(value), 4) for value in reference]}))


def measure(
    run: RunDirectory, data: Data, images: StoredImages, subnets: list[Any], limit: int | None
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Top-1 of each subnet, recalibrated on these images, float64[subnets]."""
    kept = data_of_images(data.config, {"train": images}, data.record, "drawn")
    config = replace(run.recipe.evaluation, recalibration_images=len(images))
    return SubnetEvaluator(run.supernet(), data, config, limit, recalibration=kept).top1(subnets)


def as_jpeg(images: StoredImages) -> StoredImages:
    """The images as they come back from JPEG."""
    files = [_jpeg(pixels) for pixels in images.pixels]
    ends = np.cumsum([len(file) for file in files]).tolist()
    joined = np.frombuffer(b"".join(files), np.uint8)
    return StoredImages(_decoded_jpeg(joined, ends, (images.pixels.shape[1], images.pixels.shape[3])), images.labels)


def row(count: int, lost: np.ndarray[Any, np.dtype[np.float64]], images: StoredImages) -> dict[str, Any]:
    """Figures of one number of images, in points of top-1; `lost` is float64[draws, subnets]."""
    points = 100 * lost
    return {
        "images": count,
        "megabytes": images.pixels.nbytes / 1e6,
        "lost_mean": float(points.mean()),
        "lost_std": float(points.std()),
        "lost_worst": float(points.max()),
        "draws": len(lost),
        "lost": points.round(3).tolist(),
    }


if __name__ == "__main__":
    main()
