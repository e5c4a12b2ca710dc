"""Time and energy that a run has booked so far, for its footprint: from its ledgers, or from the result of its training.

A bundle has no ledgers, so of a bundle only the training is known.
"""

from __future__ import annotations

from ofa.energy.account import CHECKPOINT, EVALUATION, FINETUNE, LOST, TRAINING, Booked, energy_of_run
from ofa.energy.reading import METERED, UNKNOWN
from ofa.errors import UserError
from ofa.files.bundle import Place
from ofa.files.vouched import read_vouched_json

OF_TRAINING = (TRAINING, EVALUATION, CHECKPOINT, LOST, FINETUNE)
"""Purposes that count as training, with what a kill undid; all others look for a subnet."""
ADVICE = "copy the run again, or measure it again"


def work_of_run(path: Place) -> list[Booked]:
    """Time and energy that a run has booked, if any; raises `UserError` for no run, or a damaged record."""
    if not (path / "recipe.yaml").exists():
        raise UserError(f"{path}: no run directory (no recipe.yaml in it)")
    found = energy_of_run(path / "energy")
    result = path / "result.json"
    if any(row.purpose == TRAINING for row in found) or not result.exists():
        return found
    facts = read_vouched_json(result, ADVICE)
    seconds, joules = facts.get("train_seconds"), facts.get("train_energy_j")
    if seconds is None:
        return found
    sources = (str(facts.get("train_energy_source") or "no counter was read"),)
    if joules is None:
        return [*found, Booked(TRAINING, UNKNOWN, seconds, None, sources)]
    return [*found, Booked(TRAINING, METERED, seconds, joules, sources, tuple(facts.get("train_energy_missing", ())))]
