"""A run as `ofa report` shows it: its predictor, measurements, epochs, energy, test result, and where it is from."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.shared.labels import input_values
from ofa.cli.shared.options import answerable, open_predictor, weights_digest
from ofa.files.bundle import BundlePath
from ofa.files.vouched import read_vouched_json, read_vouched_line
from ofa.runs.metrics_rows import metrics_rows
from ofa.runs.spent import work_of_run

if TYPE_CHECKING:
    from ofa.runs.run_files import RunFiles
    from search.page.contents import Measurements, Reported

ADVICE = "copy the run again"


def reported(run: RunFiles, asked: str) -> Reported:
    """All that a report needs of a run, `asked` by that name; raises `UserError` for no predictor, or a damaged file."""
    from search.page.contents import Reported

    predictor, facts, accuracy = open_predictor(run)
    result = run.path / "result.json"
    return Reported(
        name=run.path.name.removesuffix(".ofa"),
        asked=asked,
        space=run.space,
        predictor=predictor,
        predictor_facts=facts,
        accuracy=accuracy,
        among=answerable(run),
        measured=_measurements(run, accuracy.name),
        epochs=metrics_rows(run.path / "metrics.jsonl"),
        work=work_of_run(run.path),
        result=read_vouched_json(result, ADVICE) if result.exists() else {},
        input_values=input_values(run.space, run),
        provenance=_provenance(run),
    )


def _measurements(run: RunFiles, accuracy: str) -> Measurements | None:
    """The measurements of these weights on the number of images that most of them have."""
    import numpy as np

    from search.page.contents import Measurements

    log, weights = run.path / "predictor" / "measurements.jsonl", weights_digest(run)
    if not log.exists():
        return None
    rows = [
        read_vouched_line(line, f"{log}:{i}", ADVICE)
        for i, line in enumerate(log.read_text(encoding="utf-8").splitlines(), start=1)
    ]
    rows = [row for row in rows if row["weights"] == weights and row["space"] == run.space.fingerprint and accuracy in row]
    if not rows:
        return None
    images = Counter(row["images"] for row in rows).most_common(1)[0][0]
    rows = [row for row in rows if row["images"] == images]
    groups = None
    if accuracy == "top1" and all("correct" in row for row in rows):
        counts = np.array([row["correct"] for row in rows], dtype=np.float64)
        groups = counts / [len(part) for part in np.array_split(np.arange(images), counts.shape[1])]
    return Measurements(
        genes=np.array([row["genes"] for row in rows], dtype=np.int8),
        accuracy=np.array([row[accuracy] for row in rows], dtype=np.float64),
        groups=groups,
        images=images,
    )


def _provenance(run: RunFiles) -> list[tuple[str, str]]:
    """Names and texts: data, recipe, versions, digests; no path of this machine, since the page travels."""
    from importlib.metadata import version

    from ofa.files.schema import load_yaml

    recipe: dict[str, Any] = load_yaml(run.path / "recipe.yaml")
    phases = ", ".join(f"{phase['name']} ({phase['epochs']} epochs)" for phase in recipe["phases"])
    found = [("Run", run.path.name), ("Space", f"{run.space.name}, fingerprint {run.space.fingerprint}")]
    record = run.record()
    if record is not None:
        found.append(("Data", replace(record, found_at=Path(record.found_at).name).sentence()))
    found += [("Recipe", f"{recipe.get('description', '')} {phases}; batch {recipe['batch_size']}".strip())]
    found.append(("Weights", f"SHA-256 {weights_digest(run)}..."))
    if isinstance(run.path, BundlePath):
        manifest = run.path.bundle.manifest
        found.append(("Licence of the data", str(manifest["data"].get("licence") or "not stated")))
        found.append(("Trained with", ", ".join(f"{name} {value}" for name, value in manifest["tools"].items())))
    return [*found, ("Report made with", f"ofa-energy {version('ofa-energy')}")]
