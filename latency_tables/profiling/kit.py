"""Kits, which measure a space on a device without this project and PyTorch: writing one, and the plan of its results."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables import on_device
from latency_tables.on_device.main import MANIFEST, MODELS, RUNTIMES, to_manifest
from latency_tables.on_device.timing import EMPTY_MODEL, VISITS, Item
from latency_tables.profiling.plan import Settings, SpacePlan
from ofa.deploy.formats.onnx_graph import ImageInput, Weights, build_empty, build_graph, noise
from ofa.deploy.formats.tflite.tflite_graph import build_empty_tflite, build_tflite
from ofa.errors import UserError
from ofa.files import schema
from ofa.files.atomic import atomic_write
from ofa.files.bundle import ZIP_DATE
from ofa.space.search_space import SearchSpace

KIT_MODULES = ("timing.py", "results.py", "ort_runtime.py", "litert_runtime.py", "main.py")
"""The modules that a kit holds: they import the standard library, numpy, the runtime and one another, nothing else."""
PACKAGES = {"onnxruntime": ("onnxruntime", "ONNX graphs"), "litert": ("ai-edge-litert", ".tflite files")}
"""What a device needs for each runtime, and what it runs."""
ON_DEVICE = Path(on_device.__path__[0])

RUN_PY = """\
import sys
from pathlib import Path

from latency_tables.on_device.main import main

sys.exit(main(Path(__file__).resolve().parent))
"""

README_MD = """\
# Measure the networks of space {space} on this device

Needs Python 3.9 or newer:

    python -m pip install {package}
    python run.py

It times {chains} chains of blocks and whole networks (`models.zip`: {form} with random weights), {visits} visits each,
and writes `results.csv`. You can stop it at any time: the same command continues. `--threads N` sets the threads, `--out
FILE` the file to write: use another file for another number of threads. Let nothing else run meanwhile.

Then, on the machine that has the project:

    ofa profile --import results.csv --space {space} --out my-device.yaml
"""


def _onnx_file(plan: SpacePlan, weights: Weights, item: Item) -> bytes:
    """The ONNX graph of an item, which all items of its model share."""
    batch = plan.settings.batch
    made = build_empty(batch) if item.model == EMPTY_MODEL else build_graph(plan.models[item.model], batch, weights)
    return bytes(made.SerializeToString())


def _tflite_file(plan: SpacePlan, weights: Weights, item: Item) -> bytes:
    """The .tflite file of an item; whole networks take images, as exported ones do."""
    name, batch = f"{item.model}@{item.size}", plan.settings.batch
    if item.model == EMPTY_MODEL:
        return build_empty_tflite(batch)
    if name in plan.blocks:
        return build_tflite([plan.blocks[name]], batch, weights)
    image = ImageInput(item.size, (0.5,) * item.channels, (0.25,) * item.channels)
    return build_tflite(plan.models[item.model], batch, weights, image)


def files_of(runtime: str, plan: SpacePlan) -> Callable[[Item], bytes]:
    """What a runtime of `on_device` runs for each item of a plan."""
    make = _tflite_file if runtime == "litert" else _onnx_file
    return partial(make, plan, noise(np.random.default_rng(plan.settings.seed)))


def export_kit(
    path: Path,
    space: SearchSpace,
    resolutions: list[int] | None,
    settings: Settings,
    runtime: str = "onnxruntime",
) -> SpacePlan:
    """Write a kit for a runtime, a key of `RUNTIMES`, as a zip file; atomic. `resolutions` None: all of the space's.

    Raises:
        UserError: the package that writes the runtime's files is not installed.
    """
    plan = SpacePlan.of(_restricted(space, resolutions), settings)
    file, file_of = files_of(runtime, plan), RUNTIMES[runtime].file_of
    models = io.BytesIO()
    with zipfile.ZipFile(models, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, item in {file_of(item): item for item in plan.timing.items.values()}.items():
            _add(archive, name, file(item))
    kit = {
        "space": space.name,
        "fingerprint": space.fingerprint,
        "resolutions": resolutions,
        "settings": schema.to_plain(settings),
        "runtime": runtime,
    }
    manifest = to_manifest(plan.timing, kit, models.getvalue())
    package, form = PACKAGES[runtime]
    chains = len(plan.timing.chains)
    readme = README_MD.format(space=space.name, package=package, form=form, chains=chains, visits=VISITS)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "README.md", readme)
        _add(archive, "run.py", RUN_PY)
        _add(archive, MANIFEST, json.dumps(manifest))
        _add(archive, MODELS, models.getvalue(), zipfile.ZIP_STORED)
        _add(archive, "latency_tables/__init__.py", "")
        _add(archive, "latency_tables/on_device/__init__.py", "")
        for name in KIT_MODULES:
            _add(archive, f"latency_tables/on_device/{name}", (ON_DEVICE / name).read_bytes())
    atomic_write(path, whole.getvalue())
    return plan


def plan_of(kit: Any, space: SearchSpace, place: str) -> SpacePlan:
    """The plan of the kit that results describe; `UserError` where it was exported for another space."""
    try:
        fingerprint, resolutions, given = kit["fingerprint"], kit["resolutions"], kit["settings"]
    except (TypeError, KeyError):
        raise UserError(f"{place}: kit is {schema.shown(kit)}; expected its fingerprint, resolutions and settings") from None
    if fingerprint != space.fingerprint:
        raise UserError(
            f"{place}: kit.fingerprint is {schema.shown(fingerprint)}, of space {kit.get('space')}; "
            f"{space.name} has {space.fingerprint!r}: give the space that the kit was exported for"
        )
    try:
        settings = schema.build(Settings, given, "settings")
    except UserError as error:
        raise UserError(f"{place}: kit.{error}") from None
    if resolutions is not None and not (
        isinstance(resolutions, list) and all(isinstance(size, int) for size in resolutions)
    ):
        raise UserError(f"{place}: kit.resolutions is {schema.shown(resolutions)}; expected a list of pixels")
    return SpacePlan.of(_restricted(space, resolutions), settings)


def _restricted(space: SearchSpace, resolutions: list[int] | None) -> SearchSpace:
    return space if resolutions is None else space.restrict(resolutions=resolutions)


def _add(archive: zipfile.ZipFile, name: str, content: bytes | str, compression: int = zipfile.ZIP_DEFLATED) -> None:
    info = zipfile.ZipInfo(name, ZIP_DATE)
    info.external_attr = 0o644 << 16
    archive.writestr(info, content, compression)
