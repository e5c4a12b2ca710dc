"""How near the loader of image folders comes to what the processors can decode: images/s against a bare loop.

The loader is what training uses, with W workers: `decode`, random resized crops as batches of bytes in order, all that a
CPU does beside a GPU; and `Data.batches`, where this CPU also makes them float32 and normalises them. The bare loop decodes,
crops and resizes the same files with Pillow in W processes and throws the pixels away. They take turns; medians are
compared. Prints one JSON line.

    OMP_NUM_THREADS=1 python benchmarks/decoding.py --workers 2                     # synthetic photos, 500 x 375
    OMP_NUM_THREADS=1 python benchmarks/decoding.py --folder cifar10 --resolution 32
    python benchmarks/decoding.py --listing 100000                                  # seconds to list so many files
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ofa.data.augment.augmentation import AugmentConfig
from ofa.data.batches import Data, load_data
from ofa.data.config import DataConfig
from ofa.data.decoding import Job, decode
from ofa.data.sources.read_source import Files, read_source

WIDTH, HEIGHT, QUALITY = 500, 375, 90  # an average ImageNet photo has 500 x 375 pixels and about 110 kB
DISTINCT = 200
AREA = (0.08, 1.0)
CLASSES = 100


def make_photos(folder: Path, count: int) -> None:
    """JPEG files of smooth noise with grain, sized as photos are: `DISTINCT` ones, and further names for them."""
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / "train" / f"class{number % 10}" / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        if number >= DISTINCT:
            place.hardlink_to(folder / "train" / f"class{number % DISTINCT % 10}" / f"{number % DISTINCT}.jpg")
            continue
        coarse = Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        pixels = np.clip(smooth + rng.normal(0, 6, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(place, quality=QUALITY)


def decode_bare(work: tuple[list[str], int, int]) -> int:
    """Random resized crops of some files, pixels thrown away; how many."""
    paths, resolution, seed = work
    rng = random.Random(seed)
    for path in paths:
        with Image.open(path) as image:
            width, height = image.size
            area, aspect = rng.uniform(*AREA) * width * height, math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = min(math.sqrt(area * aspect), width), min(math.sqrt(area / aspect), height)
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            image.draft(None, (math.ceil(width * resolution / w), math.ceil(height * resolution / h)))
            x, y = image.size[0] / width, image.size[1] / height
            box = (left * x, top * y, (left + w) * x, (top + h) * y)
            colour = image if image.mode == "RGB" else image.convert("RGB")
            np.asarray(colour.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box))
    return len(paths)


def time_bare(paths: list[str], args: argparse.Namespace) -> float:
    """Seconds; the processes are there before the clock starts."""
    with multiprocessing.Pool(args.workers) as pool:
        pool.map(decode_bare, [(paths[:1], args.resolution, 0)] * args.workers)
        shares = [(paths[worker :: args.workers], args.resolution, worker) for worker in range(args.workers)]
        start = time.perf_counter()
        pool.map(decode_bare, shares)
        return time.perf_counter() - start


def time_loader(data: Data, count: int, args: argparse.Namespace, epoch: int) -> float:
    """Seconds, the start of the workers included."""
    options = {"resolution": args.resolution, "shuffle": True, "augment": True, "limit": count}
    start = time.perf_counter()
    seen = sum(len(labels) for _, labels in data.batches("train", batch_size=args.batch, epoch=epoch, **options))
    assert seen == count
    return time.perf_counter() - start


def time_decode(paths: list[str], args: argparse.Namespace, epoch: int) -> float:
    """Seconds to batches of bytes in order, the start of the workers included."""
    start = time.perf_counter()
    batches = [paths[first : first + args.batch] for first in range(0, len(paths), args.batch)]
    jobs = [Job(batch, args.resolution, crop_area=AREA, seed=(epoch, i)) for i, batch in enumerate(batches)]
    assert sum(len(batch) for batch in decode(jobs, 3, args.workers)) == len(paths)
    return time.perf_counter() - start


def compare(folder: Path, args: argparse.Namespace) -> dict[str, object]:
    varied = AugmentConfig(horizontal_flip=True, random_resized_crop=AREA)
    config = DataConfig(source=str(folder), validation=1, augment=varied, workers=args.workers, memory_limit_mb=0)
    data = load_data(config)
    paths = [str(path) for path in folder.glob("train/*/*")]
    random.Random(0).shuffle(paths)
    count = min(args.images, data.sizes["train"])
    seconds: dict[str, list[float]] = {"bare": [], "decode": [], "batches": []}
    for repeat in range(args.repeats + 1):
        taken = {
            "bare": time_bare(paths[:count], args),
            "decode": time_decode(paths[:count], args, repeat),
            "batches": time_loader(data, count, args, repeat),
        }
        if repeat > 0:  # the first reads the files from disk
            for name, value in taken.items():
                seconds[name].append(value)
    rate = {name: count / float(np.median(values)) for name, values in seconds.items()}
    return {
        "images": count,
        "kb_per_image": round(float(np.mean([Path(path).stat().st_size for path in paths[:200]])) / 1e3, 1),
        "resolution": args.resolution,
        "workers": args.workers,
        "repeats": args.repeats,
        "images_per_s": {name: round(value, 1) for name, value in rate.items()},
        "share_of_limit": {name: round(rate[name] / rate["bare"], 3) for name in ("decode", "batches")},
        "torch": torch.__version__,
    }


def time_listing(folder: Path, count: int) -> dict[str, object]:
    """Of empty files: names are all that is looked at."""
    for number in range(CLASSES):
        (folder / "train" / f"n{number:08}").mkdir(parents=True)
    for number in range(count):
        (folder / "train" / f"n{number % CLASSES:08}" / f"n{number % CLASSES:08}_{number}.JPEG").touch()
    start = time.perf_counter()
    source = read_source(str(folder), folder)
    seconds = time.perf_counter() - start
    train = source.parts["train"]
    assert isinstance(train, Files)
    assert len(train.paths) == count
    return {"files": count, "listing_s": round(seconds, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="with train/CLASS/*.jpg (default: synthetic photos)")
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--resolution", type=int, default=224, help="pixels")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--listing", type=int, help="only time the listing of so many files")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if args.listing:
            line = time_listing(Path(temporary), args.listing)
        elif args.folder:
            line = {"source": args.folder.name} | compare(args.folder, args)
        else:
            make_photos(Path(temporary), args.images + 1)  # one is held out
            line = {"source": f"synthetic {WIDTH}x{HEIGHT}"} | compare(Path(temporary), args)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
