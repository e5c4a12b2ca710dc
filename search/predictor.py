"""Accuracy predictors: what they offer, and how they are stored and loaded.

A predictor is two files: `predictor.npz` with its arrays and `predictor.json` with everything else: the space's fingerprint,
the cross-validation report, and what was measured.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ofa.errors import UserError
from ofa.files import atomic_write, read_json, sha256, write_json
from ofa.space import Genes, SearchSpace
from search.features import FEATURE_SETS
from search.problem import Floats
from search.ridge import RidgePredictor

FORMAT = 1
ARRAYS = ("offset", "scale", "weights", "spread")
NUMBERS = ("penalty", "variance")


class Predictor(Protocol):
    """Genes to accuracy, with its uncertainty."""

    def top1(self, genes: Genes) -> Floats:
        """Predicted top-1 of int8[n, genes], float64[n] in [0, 1]."""

    def std(self, genes: Genes) -> Floats | None:
        """Its standard deviation, float64[n]; None where a predictor does not know."""


def save_predictor(folder: str | Path, predictor: RidgePredictor, facts: Mapping[str, Any]) -> None:
    """Write `predictor.npz` and `predictor.json` into a folder, each atomically.

    Args:
        folder: created when it does not exist.
        predictor: what to store.
        facts: added to the JSON as they are: the report, what was measured.
    """
    folder = Path(folder)
    buffer = io.BytesIO()
    np.savez(buffer, **{name: getattr(predictor, name) for name in ARRAYS})
    atomic_write(folder / "predictor.npz", buffer.getvalue())
    document = {
        "format": FORMAT,
        "kind": "ridge",
        "space": predictor.space.name,
        "fingerprint": predictor.space.fingerprint,
        "features": predictor.features,
        "samples": predictor.samples,
        **{name: getattr(predictor, name) for name in NUMBERS},
        "arrays_sha256": sha256(folder / "predictor.npz"),
    }
    write_json(folder / "predictor.json", document | dict(facts))


def load_predictor(path: str | Path, space: SearchSpace) -> Predictor:
    """A stored predictor of `space`, or one of the published package (`.pth`).

    Args:
        path: a run directory, its `predictor` folder, `predictor.json`, or a published `.pth` file.
        space: the space whose genes it will be given.

    Raises:
        UserError: no predictor there, a damaged one, or one of another space (the message names both fingerprints).
    """
    path = Path(path)
    if path.suffix == ".pth":
        from search.published import load_published

        return load_published(path, space)
    file = predictor_file(path)
    document = read_json(file)
    if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("kind") != "ridge":
        raise UserError(f"{file}: not a predictor of format {FORMAT} and kind 'ridge'")
    if document.get("fingerprint") != space.fingerprint:
        raise UserError(
            f"{file}: the predictor is for space {document.get('space')} with fingerprint {document.get('fingerprint')}; "
            f"{space.name} has fingerprint {space.fingerprint}"
        )
    return _read(file, document, space)


def predictor_file(path: Path) -> Path:
    """The JSON of a predictor given as a run, a folder or the file itself; raises `UserError` when there is none."""
    candidates = [path] if path.suffix == ".json" else [path / "predictor.json", path / "predictor" / "predictor.json"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UserError(f"{path}: no predictor there; `ofa predictor RUN` measures subnets and fits one")


def _read(file: Path, document: dict[str, Any], space: SearchSpace) -> RidgePredictor:
    arrays_file = file.with_suffix(".npz")
    if document.get("arrays_sha256") != sha256(arrays_file):
        raise UserError(f"{arrays_file}: its digest is not the one in {file.name}; fit the predictor again")
    for key in ("features", "samples", *NUMBERS):
        if key not in document:
            raise UserError(f"{file}: key {key!r} is missing")
    if document["features"] not in FEATURE_SETS:
        raise UserError(f"{file}: features are {document['features']!r}; known are {', '.join(FEATURE_SETS)}")
    with np.load(arrays_file, allow_pickle=False) as data:
        missing = [name for name in ARRAYS if name not in data]
        if missing:
            raise UserError(f"{arrays_file}: array {missing[0]!r} is missing")
        arrays = {name: np.asarray(data[name], dtype=np.float64) for name in ARRAYS}
    predictor = RidgePredictor(
        space=space,
        features=document["features"],
        samples=int(document["samples"]),
        penalty=float(document["penalty"]),
        variance=float(document["variance"]),
        **arrays,
    )
    try:
        predictor.top1(space.encode(space.largest()))
    except ValueError as error:
        raise UserError(f"{arrays_file}: the arrays do not fit the space {space.name}: {error}") from None
    return predictor


def as_plain(report: Any) -> dict[str, Any]:
    """A report dataclass as JSON holds it: NaN (an uncertainty nobody gave) becomes None."""
    plain = dataclasses.asdict(report)
    return {key: None if isinstance(value, float) and value != value else value for key, value in plain.items()}
