"""Storing and loading accuracy predictors.

A predictor is two files: `predictor-DIGEST.npz` with its arrays, and `predictor.json` with everything else: its kind, the
space's fingerprint, the cross-validation report, and facts of the measurements.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as numpy_format

from ofa.errors import UserError
from ofa.files.atomic import atomic_write, sha256
from ofa.files.bundle import Place, open_place
from ofa.files.vouched import read_vouched_json, write_vouched_json
from ofa.runs.zoo import find_run
from ofa.space.search_space import SearchSpace
from search.predictors.kinds import STORED, StoredPredictor
from search.predictors.protocols import Predictor
from search.predictors.published import load_published

PREDICTOR_FORMAT = 2


def save_predictor(folder: str | Path, predictor: StoredPredictor, facts: Mapping[str, Any]) -> None:
    """Write a predictor into a folder; a kill at any moment leaves the old one or the new one, complete.

    `facts` are further entries of the JSON: the report, facts of the measurements.
    """
    folder = Path(folder)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **predictor.arrays())
    arrays = f"predictor-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.npz"
    atomic_write(folder / arrays, buffer.getvalue())
    document = {
        "format": PREDICTOR_FORMAT,
        "kind": predictor.kind,
        "space": predictor.space.name,
        "fingerprint": predictor.space.fingerprint,
        "samples": predictor.samples,
        "fitted": predictor.facts(),  # nested, so that its names cannot collide with the report's
        "arrays": arrays,
        "arrays_sha256": sha256(folder / arrays),
    }
    shared = document.keys() & facts.keys()
    assert not shared, f"two owners of {shared}"
    write_vouched_json(folder / "predictor.json", document | dict(facts))
    for old in folder.glob("predictor*.npz"):
        if old.name != arrays:
            old.unlink()


def load_predictor(path: str | Place, space: SearchSpace) -> Predictor:
    """A stored predictor of `space`, or one of the published package (`.pth`).

    Args:
        path: a run directory, its `predictor` folder, `predictor.json`, a bundle, a name of the zoo, or a published `.pth`
            file.
        space: the space whose genes it will be given.

    Raises:
        UserError: there is no predictor, it is damaged, or it is for another space (the message names both fingerprints).
    """
    place = find_run(path)
    if isinstance(place, Path) and place.suffix == ".pth":
        return load_published(place, space)
    file = predictor_file(place if place.suffix == ".json" else open_place(place))
    document = read_vouched_json(file, "fit the predictor again")
    if document.get("format") not in (1, PREDICTOR_FORMAT):
        raise UserError(f"{file}: not a predictor of format 1 or {PREDICTOR_FORMAT}")
    if document.get("fingerprint") != space.fingerprint:
        raise UserError(
            f"{file}: the predictor is for space {document.get('space')} with fingerprint {document.get('fingerprint')}; "
            f"{space.name} has fingerprint {space.fingerprint}"
        )
    return _read(file, document, space)


def predictor_file(path: Place) -> Place:
    """The JSON of a predictor, given a run, a folder or the file itself; raises `UserError` when there is none."""
    candidates = [path] if path.suffix == ".json" else [path / "predictor.json", path / "predictor" / "predictor.json"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UserError(f"{path}: no predictor there; `ofa predictor RUN` measures subnets and fits one")


def _arrays(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an .npz as `save_predictor` writes it: stored, not compressed. It may come from a stranger.

    `numpy.load` allocates what an array's header says before it reads; here a header must fit the bytes that follow it.
    """
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if any(info.compress_type or info.flag_bits for info in members) or sum(i.file_size for i in members) > len(content):
            raise ValueError("its arrays are compressed or encrypted")
        for info in members:
            member = io.BytesIO(archive.read(info))
            readers = {(1, 0): numpy_format.read_array_header_1_0, (2, 0): numpy_format.read_array_header_2_0}
            shape, by_column, dtype = readers[numpy_format.read_magic(member)](member)
            values = member.read()
            if dtype.hasobject or prod(shape) * dtype.itemsize != len(values):
                raise ValueError(f"array {info.filename} of shape {list(shape)} has {len(values)} bytes")
            array = np.frombuffer(values, dtype).reshape(shape, order="F" if by_column else "C")
            arrays[info.filename.removesuffix(".npy")] = array.copy()
    return arrays


def _read(file: Place, document: dict[str, Any], space: SearchSpace) -> Predictor:
    arrays_file = file.with_name(Path(str(document.get("arrays", "predictor.npz"))).name)
    if document.get("arrays_sha256") != sha256(arrays_file):
        raise UserError(f"{arrays_file}: its digest is not the one in {file.name}; fit the predictor again")
    kind = STORED.get(str(document.get("kind")))
    if kind is None:
        raise UserError(f"{file}: kind is {document.get('kind')!r}; known are {', '.join(STORED)}")
    try:
        arrays = _arrays(arrays_file.read_bytes())
        fitted = document if document["format"] == 1 else {"samples": document["samples"], **document["fitted"]}
        predictor = kind.restore(space, arrays, fitted)
        predictor.top1(space.encode(space.largest()))
    except KeyError as error:
        raise UserError(f"{file}: {error} is missing in it or in {arrays_file.name}") from None
    except zipfile.BadZipFile as error:
        raise UserError(f"{arrays_file}: not an archive of arrays: {error}; fit the predictor again") from None
    except (TypeError, ValueError, IndexError) as error:
        raise UserError(f"{file}: does not fit the space {space.name}: {error}") from None
    return predictor
