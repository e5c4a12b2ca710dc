"""Pack a run into a bundle: the files that a query, an export or a transfer reads, and where they are from."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ofa.data.sources import fashion_mnist
from ofa.data.sources.wheel_datasets import WHEELS
from ofa.data.stored_images import MOST_BYTES, StoredImages, stored
from ofa.errors import UserError
from ofa.files import schema
from ofa.files.bundle import bundle_content
from ofa.files.vouched import read_vouched_json, vouched_json
from ofa.runs.run_directory import RunDirectory

TOOLS = ("ofa-energy", "torch", "numpy", "safetensors")
PLAIN_FILES = ("recipe.yaml", "space.yaml", "import.json", "supernet.safetensors", "metrics.jsonl", "result.json")
SPENT = (
    *("train_seconds", "train_energy_j", "train_energy_source", "train_energy_missing"),
    *("train_estimated_j", "train_estimate_source"),
)
MOST_BYTES_OF_VALIDATION = 4 * MOST_BYTES


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A bundle that is not written yet."""

    content: bytes
    images: int
    """Training images for batch-norm statistics."""
    validation: int
    """Validation images."""
    facts: dict[str, Any] = field(repr=False)
    """Provenance, as the manifest has it."""


def add_images(run: RunDirectory) -> None:
    """Keep in an older run what it needs of its data set; raises `UserError` where that is not here."""
    if not (run.images_path("train").exists() and run.record_path.exists()):
        run.data(write_record=True)


def pack(
    run: RunDirectory,
    *,
    images: bool = True,
    validation: int = 0,
    licence: str | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> Packed:
    """The bundle of a run that keeps its images (`add_images`). The same run gives the same bytes.

    Args:
        run: a finished run.
        images: take the training images along.
        validation: number of held-out images to take along too, as the data set has them.
        licence: of the data set; None: as it is known for those that have a name.
        extra: further files by name.

    Raises:
        UserError: a part is damaged; or validation images are wanted and the data set is not here, or has fewer.
    """
    record = run.record()
    if record is None:
        raise UserError(f"{run.record_path}: no such file; the run does not say what it was trained on")
    source = run.recipe.data.source
    files = {name: (run.path / name).read_bytes() for name in PLAIN_FILES if (run.path / name).exists()}
    files["data.json"] = vouched_json(schema.to_plain(replace(record, found_at=source))).encode()
    files |= _predictor(run)
    counts = {"train": 0, "validation": 0}
    if images:
        files["images/train.safetensors"] = run.images_path("train").read_bytes()
        counts["train"] = len(run.images("train") or ())
    if validation:
        held_out = _validation(run, validation)
        files["images/validation.safetensors"] = stored(held_out, MOST_BYTES_OF_VALIDATION)
        counts["validation"] = len(held_out)
    result = read_vouched_json(run.result_path, "measure it again") if run.result_path.exists() else {}
    facts = {
        "run": run.path.name.removesuffix(".ofa"),
        "space": {"name": run.space.name, "fingerprint": run.space.fingerprint},
        "data": {
            "source": source,
            "licence": licence or known_licence(source),
            "images": {part: sum(classes.values()) for part, classes in record.images.items()},
            "classes": list(record.classes),
            "digests": record.digests,
        },
        "kept_images": counts,
        "training": {name: result.get(name) for name in SPENT},
        "tools": {"python": platform.python_version(), **{tool: _version(tool) for tool in TOOLS}},
    }
    return Packed(
        content=bundle_content(files | dict(extra or {}), facts),
        images=counts["train"],
        validation=counts["validation"],
        facts=facts,
    )


def known_licence(source: str) -> str | None:
    """The licence of a data set that `ofa data` knows; None for others."""
    if source == fashion_mnist.NAME:
        return fashion_mnist.LICENCE
    wheel = WHEELS.get(Path(source).stem)
    return None if wheel is None else wheel.note


def _predictor(run: RunDirectory) -> dict[str, bytes]:
    """The run's predictor and its measurements, where there are any."""
    folder = run.path / "predictor"
    files = {}
    if (folder / "predictor.json").exists():
        arrays = str(read_vouched_json(folder / "predictor.json", "fit the predictor again").get("arrays"))
        for name in ("predictor.json", Path(arrays).name):
            if not (folder / name).exists():
                raise UserError(f"{folder / name}: no such file; fit the predictor again")
            files[f"predictor/{name}"] = (folder / name).read_bytes()
    log = folder / "measurements.jsonl"
    if log.exists():
        content = log.read_bytes()
        files["predictor/measurements.jsonl"] = content[: content.rfind(b"\n") + 1]  # without what a kill cut off
    return files


def _validation(run: RunDirectory, count: int) -> StoredImages:
    if not run.has_data():
        kept = run.images("validation")
        if kept is None:
            raise UserError(f"--validation is {count}, but the data set {run.recipe.data.source} is not here")
        held_out = kept
    else:
        held_out = run.data().squares("validation", count, run.space.resolutions[-1])
    if len(held_out) < count:
        raise UserError(f"--validation is {count}; there are {len(held_out)} validation images that can be packed")
    return StoredImages(held_out.pixels[:count], held_out.labels[:count])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return None
