"""Choice of the images held out of training, and an order of images in which the first ones are always a fair sample.

An image file is held out by a hash of its name, so that images added later do not move others from training to validation.
Arrays have no names, so a seeded permutation decides there.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from ofa.data.config import DataConfig
from ofa.data.sources.read_source import Arrays, Files, Source
from ofa.data.splits import Part, take
from ofa.errors import UserError

DEFAULT_VALIDATION = 0.1
HASHES = 2.0**64
"""Number of different hashes."""

Hashes = npt.NDArray[np.uint64]


def held_out(source: Source, config: DataConfig) -> dict[str, Part]:
    """Split a source into `train`, `validation` and perhaps `test`, each in the order of `mixed_order`.

    Raises:
        UserError: `validation` takes all training images or none, or is given although the source has validation and test.
    """
    parts = dict(source.parts)
    if config.validation is not None and "validation" in parts:
        if "test" in parts:
            raise UserError(
                f"data {config.source}: validation is {config.validation} but the source has parts for validation and test; "
                "leave validation out to use its own"
            )
        parts["test"] = parts.pop("validation")  # as on ImageNet, where results are reported on val/
    hashes = {name: name_hashes(part, config) for name, part in parts.items()}
    ordered = {name: take(part, mixed_order(part.labels, config.split_seed, hashes[name])) for name, part in parts.items()}
    if "validation" not in ordered:
        train = ordered["train"]
        wanted = DEFAULT_VALIDATION if config.validation is None else config.validation
        chosen = _chosen(train, wanted, name_hashes(train, config))
        count, size = int(chosen.sum()), len(train.labels)
        if not 0 < count < size:
            shown = count if isinstance(wanted, float) else wanted
            raise UserError(
                f"data {config.source}: validation takes {shown} of {size} training images; both parts need some"
            )
        ordered["validation"] = take(train, np.flatnonzero(chosen))
        ordered["train"] = take(train, np.flatnonzero(~chosen))
    return {name: ordered[name] for name in ("train", "validation", "test") if name in ordered}


def name_hashes(part: Arrays | Files, config: DataConfig) -> Hashes | None:
    """A uniform hash of each file's name and the split's seed, uint64[n]; None where names do not decide the split."""
    if isinstance(part, Arrays) or config.split_by != "name":
        return None
    key = str(config.split_seed).encode()
    digests = b"".join(
        blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8, key=key).digest() for name in part.names()
    )
    return np.frombuffer(digests, dtype=np.uint64)


def mixed_order(labels: npt.NDArray[np.int64], seed: int, hashes: Hashes | None = None) -> npt.NDArray[np.int64]:
    """A random order in which the first n images hold each class in its proportion, to within one image, for every n.

    So the first images are a fair sample, and a split of the order is stratified.

    Args:
        labels: int64[n].
        seed: seed of the order.
        hashes: uint64[n], the order within each class instead of the seed; None: the seed.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels)) if hashes is None else np.argsort(hashes, kind="stable")
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(labels)) - starts[labels[by_class]]
    position = np.empty(len(labels))
    position[by_class] = (rank + 0.5) / counts[labels[by_class]]
    return shuffled[np.argsort(position[shuffled], kind="stable")]


def _chosen(train: Part, wanted: int | float, hashes: Hashes | None) -> npt.NDArray[np.bool_]:
    """Choose the training images to hold out, bool[n], of a part in mixed order."""
    size = len(train.labels)
    chosen = np.zeros(size, dtype=bool)
    if hashes is None:
        chosen[: max(0, round(wanted * size) if isinstance(wanted, float) else wanted)] = True
        return chosen
    # Every class gives at least its first image by hash; only added images with a smaller hash can take its place.
    by_hash = np.argsort(hashes, kind="stable")
    _, first = np.unique(train.labels[by_hash], return_index=True)
    if isinstance(wanted, float):
        chosen = hashes < np.uint64(wanted * HASHES)
        chosen[by_hash[first]] = True
        return chosen
    if wanted >= len(first):
        chosen[by_hash[first]] = True
    rest = by_hash[~chosen[by_hash]]
    chosen[rest[: max(0, wanted - int(chosen.sum()))]] = True
    return chosen
