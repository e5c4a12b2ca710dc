"""Time and energy that a run has booked so far, for its footprint: from its ledgers, or from the result of its training.

A bundle has no ledgers, so of a bundle only the training is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ofa.energy.ledger import CHECKPOINT, EVALUATION, LOST, TRAINING, Account, Spent, combined
from ofa.errors import UserError
from ofa.files.bundle import Place
from ofa.files.vouched import read_vouched_json

METERED, UNKNOWN = "metered", "unknown"
OF_TRAINING = (TRAINING, EVALUATION, CHECKPOINT, LOST, "finetune")
"""Purposes that count as training, with what a kill undid; all others look for a subnet."""
ADVICE = "copy the run again, or measure it again"


@dataclass(frozen=True)
class Work:
    """Time and energy of one purpose and kind."""

    purpose: str
    kind: str
    """`metered`, or `unknown`: time without energy."""
    seconds: float
    joules: float | None
    """None where the kind is unknown; a lower bound where something is missing."""
    sources: tuple[str, ...]
    missing: tuple[str, ...] = ()

    @property
    def of_training(self) -> bool:
        """True for training, False for the search of a subnet."""
        return self.purpose in OF_TRAINING


def work_of_run(path: Place) -> list[Work]:
    """What a run has booked, finished or not; empty where nothing was.

    Raises:
        UserError: this is no run, or a record is damaged.
    """
    if not (path / "recipe.yaml").exists():
        raise UserError(f"{path}: no run directory (no recipe.yaml in it)")
    if isinstance(path, Path):
        found = _of_ledgers(path / "energy")
        if found:
            return found
    result = path / "result.json"
    if not result.exists():
        return []
    facts = read_vouched_json(result, ADVICE)
    missing = tuple(facts.get("train_energy_missing", ()))
    seconds, joules = facts.get("train_seconds"), facts.get("train_energy_j")
    if seconds is None:
        return []
    source = (str(facts.get("train_energy_source") or "no counter was read"),)
    if joules is None:
        return [Work(TRAINING, UNKNOWN, seconds, None, source)]
    return [Work(TRAINING, METERED, seconds, joules, source, missing)]


def _of_ledgers(folder: Path) -> list[Work]:
    verbs: dict[str, list[tuple[Path, Account]]] = {}
    for file in sorted(folder.glob("*-*.json")):
        verb, _, rank = file.stem.rpartition("-")
        if rank.isdigit():
            verbs.setdefault(verb, []).append((file, Account.read(file)))
    return [work for files in verbs.values() for work in _rows(combined(files))]


def _rows(account: Account) -> list[Work]:
    sources, missing = tuple(account.sources), tuple(account.missing)
    rows = []
    for purpose, spent in account.spent.items():
        read = Spent(spent.seconds - spent.unread_s, spent.joules)
        if read.seconds > 0 and spent.energy_j is not None:
            rows.append(Work(purpose, METERED, read.seconds, read.joules, sources, missing))
        if spent.unread_s > 0:
            rows.append(Work(purpose, UNKNOWN, spent.unread_s, None, missing or sources))
    return rows
