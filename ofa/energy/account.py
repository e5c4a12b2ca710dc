"""Accounts: time and energy by purpose, in a run's folder `energy/`, and their sums.

Each verb and rank that works on a run has a file of its own, `VERB-RANK.json` (`ofa.energy.ledger` writes them). What was
metered and what was estimated are booked apart and never added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ofa.energy.reading import ESTIMATED, METERED, UNKNOWN, EnergyReading
from ofa.errors import UserError
from ofa.files.bundle import Place
from ofa.files.vouched import read_vouched_json, write_vouched_json

TRAINING, EVALUATION, CHECKPOINT, LOST = "training", "evaluation", "checkpoint", "lost"
"""Purposes of a training."""
PREDICTOR, QUERY, FINETUNE, PROFILE = "predictor", "query", "finetune", "profile"
"""Purposes of the verbs that use a run."""
BEAT_S = 10.0
"""Seconds between two writings of a file, so the most that a kill can leave unbooked."""
KEPT_MARKS = 4
"""Marks kept: the last one may belong to a checkpoint that was never finished, or to a rank that was a step ahead."""
ADVICE = "delete it to continue without what it had booked"


@dataclass(frozen=True)
class Spent:
    """Time and energy of some work. Of its seconds, some are metered, some estimated, some neither."""

    seconds: float = 0.0
    joules: float = 0.0
    """Joules that were read: a lower bound where `unread_s` is above 0 or a reading lacked a part."""
    unread_s: float = 0.0
    """Seconds for which no energy was read, nor estimated."""
    estimated_j: float = 0.0
    """Joules that were estimated, which `joules` does not include."""
    estimated_s: float = 0.0
    """Seconds for which energy was estimated."""

    @classmethod
    def of(cls, reading: EnergyReading) -> Spent:
        """The time and energy of a reading."""
        if reading.joules is None:
            return cls(reading.seconds, unread_s=reading.seconds)
        if reading.kind == ESTIMATED:
            return cls(reading.seconds, estimated_j=reading.joules, estimated_s=reading.seconds)
        return cls(reading.seconds, reading.joules)

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(mine + its for mine, its in zip(self._values(), other._values(), strict=True)))

    def __sub__(self, other: Spent) -> Spent:
        return Spent(*(mine - its for mine, its in zip(self._values(), other._values(), strict=True)))

    def _values(self) -> tuple[float, ...]:
        return self.seconds, self.joules, self.unread_s, self.estimated_j, self.estimated_s

    @property
    def metered_s(self) -> float:
        """Seconds for which energy was read."""
        return max(0.0, self.seconds - self.unread_s - self.estimated_s)

    @property
    def energy_j(self) -> float | None:
        """The joules that were read; None where no energy was read at all."""
        return None if self.joules == 0 and self.unread_s + self.estimated_s > 0 else self.joules

    def plain(self) -> dict[str, float | None]:
        """The fields as reports show them: energy None where none was read, an estimate only where there is one."""
        found = {"seconds": self.seconds, "energy_j": self.energy_j, "unread_s": self.unread_s}
        if self.estimated_s > 0 or self.estimated_j > 0:
            found |= {"estimated_j": self.estimated_j, "estimated_s": self.estimated_s}
        return found

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Spent:
        """The inverse of `plain`; before version 0.2 there was no `unread_s`."""
        seconds, joules = plain["seconds"], plain["energy_j"]
        unread_s = plain.get("unread_s", seconds if joules is None else 0.0)
        return cls(seconds, joules or 0.0, unread_s, plain.get("estimated_j", 0.0), plain.get("estimated_s", 0.0))


@dataclass
class Account:
    """The content of a ledger's file, or of several."""

    spent: dict[str, Spent] = field(default_factory=dict)
    """Sums by purpose."""
    sources: list[str] = field(default_factory=list)
    """Sources of the readings, counters or reasons why there was none; each once."""
    estimates: list[str] = field(default_factory=list)
    """Origins of the estimates, with what they include; each once."""
    missing: list[str] = field(default_factory=list)
    """Parts that no sum includes, each once."""
    kills: int = 0
    """Number of times that the process was killed during its work, so that the last seconds were not booked."""
    marks: list[tuple[list[int], dict[str, Spent]]] = field(default_factory=list)
    """Positions in the work to which it can be taken back, ascending, with the sums by purpose up to there."""

    @classmethod
    def read(cls, path: Place) -> Account:
        """The account in a file, empty if there is no file; raises `UserError` where it is damaged."""
        if not path.exists():
            return cls()
        raw = read_vouched_json(path, ADVICE)
        if raw.get("name", path.name) != path.name:  # before version 0.2 it had none
            raise UserError(f"{path}: another ledger is in its place: it was written as {raw['name']}; {ADVICE}")
        try:
            account = cls(_spent(raw["spent"]), list(raw["sources"]), list(raw.get("estimates", ())))
            account.missing, account.kills = list(raw["missing"]), raw["kills"]
            account.marks = [(list(place), _spent(spent)) for place, spent in raw["marks"]]
            account.kills += raw["open"]
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: not a ledger ({error}); {ADVICE}") from None
        return account

    def write(self, path: Path, is_open: bool) -> None:
        """Replace the file; `is_open`: True while its process works, and therefore after a kill."""
        write_vouched_json(path, asdict(self) | {"open": is_open, "name": path.name})

    def add(self, purpose: str, spent: Spent) -> None:
        """Book for a purpose."""
        self.spent[purpose] = self.spent.get(purpose, Spent()) + spent

    def book(self, purpose: str, reading: EnergyReading) -> Spent:
        """Book a reading, with its source and what it lacks; returns its time and energy."""
        spent = Spent.of(reading)
        self.add(purpose, spent)
        if reading.kind == ESTIMATED:
            _note(self.estimates, [reading.source])
        else:
            _note(self.sources, [reading.source])
            _note(self.missing, reading.missing)
        return spent

    def mark(self, place: Sequence[int]) -> dict[str, Any]:
        """Mark the current position of the work, to which it may be taken back; positions only ascend.

        Returns:
            The sums by purpose up to here as JSON, for `take_back`.
        """
        kept = [mark for mark in self.marks if mark[0] < list(place)]
        self.marks = [*kept, (list(place), self._of_work())][-KEPT_MARKS:]
        return {purpose: asdict(spent) for purpose, spent in self._of_work().items()}

    def take_back(self, place: Sequence[int] | None, marked: dict[str, Any] | None = None) -> None:
        """Take the work back to a position, or to its start (None): what was spent after that is booked as lost.

        What was spent on checkpoints stays booked as such.

        Args:
            place: position at which the work resumes.
            marked: the result of `mark` at that position; None: the last mark up to it counts.
        """
        self.marks = [mark for mark in self.marks if place is not None and mark[0] <= list(place)]
        kept = self.marks[-1][1] if self.marks else {}
        if marked is not None:
            kept = _spent(marked)
        for purpose, spent in (kept | self._of_work()).items():
            self.spent[purpose] = kept.get(purpose, Spent())
            if spent.seconds > self.spent[purpose].seconds:  # else the file was written before the mark
                self.add(LOST, spent - self.spent[purpose])

    def carry_over(self, purpose: str, spent: Spent, source: str, missing: str) -> None:
        """Book time and energy from another record, and note what that leaves out."""
        self.add(purpose, spent)
        _note(self.sources, [source])
        _note(self.missing, [missing])

    def _of_work(self) -> dict[str, Spent]:
        return {purpose: spent for purpose, spent in self.spent.items() if purpose not in (CHECKPOINT, LOST)}

    def total(self, purposes: Iterable[str]) -> Spent:
        """The sum over purposes; a purpose without a booking counts as 0."""
        return sum((self.spent[purpose] for purpose in purposes if purpose in self.spent), Spent())


def combined(files: Iterable[tuple[Path, Account]]) -> Account:
    """Several ledgers as one: energies add up; time is that of rank 0, because the other ranks work at the same time."""
    whole = Account()
    for path, account in files:
        first = path.stem.endswith("-0")
        for purpose, spent in account.spent.items():
            whole.add(purpose, spent if first else Spent(joules=spent.joules, estimated_j=spent.estimated_j))
        _note(whole.sources, account.sources)
        _note(whole.estimates, account.estimates)
        _note(whole.missing, account.missing)
        whole.kills += account.kills if first else 0
    if whole.kills:
        _note(whole.missing, [f"at most {BEAT_S:g} s before each of {whole.kills} kills"])
    return whole


@dataclass(frozen=True)
class Booked:
    """Time and energy of one purpose and one kind, as a run's ledgers have them."""

    purpose: str
    """`training`, `evaluation`, `checkpoint`, `lost`, `predictor`, `query`, `finetune` or `profile`."""
    kind: str
    """`METERED`, `ESTIMATED`, or `UNKNOWN`: time without energy."""
    seconds: float
    joules: float | None
    """None for `UNKNOWN`; a lower bound where something is missing."""
    sources: tuple[str, ...]
    """Counters, origins of an estimate, or reasons why the energy is unknown."""
    missing: tuple[str, ...] = ()
    """Parts that `joules` lacks."""


def energy_of_run(folder: Place) -> list[Booked]:
    """Time and energy of a run by purpose and kind: the sum of the ledgers of all verbs and ranks in its folder `energy/`.

    Empty where nothing was booked. Metered and estimated joules of a purpose are two entries, which are not to be added
    without saying so.

    Raises:
        UserError: a ledger is damaged.
    """
    verbs: dict[str, list[tuple[Path, Account]]] = {}
    files: list[Place] = [*folder.glob("*-*.json")]
    for path in sorted(files, key=str):
        verb, _, rank = path.name.removesuffix(".json").rpartition("-")
        if rank.isdigit():
            verbs.setdefault(verb, []).append((Path(path.name), Account.read(path)))
    rows: dict[tuple[str, str], Booked] = {}
    for row in (row for files in verbs.values() for row in _rows(combined(files))):
        before = rows.get((row.purpose, row.kind))
        rows[row.purpose, row.kind] = row if before is None else _joined(before, row)
    return [rows[key] for key in sorted(rows)]


def _rows(account: Account) -> list[Booked]:
    """The kinds of each purpose of an account, as far as there is time or energy of them."""
    sources, estimates, missing = tuple(account.sources), tuple(account.estimates), tuple(account.missing)
    rows = []
    for purpose, spent in account.spent.items():
        if spent.metered_s > 0 or spent.joules > 0:
            rows.append(Booked(purpose, METERED, spent.metered_s, spent.joules, sources, missing))
        if spent.estimated_s > 0 or spent.estimated_j > 0:
            rows.append(Booked(purpose, ESTIMATED, spent.estimated_s, spent.estimated_j, estimates))
        if spent.unread_s > 0:
            rows.append(Booked(purpose, UNKNOWN, spent.unread_s, None, sources, missing))
    return rows


def _joined(one: Booked, other: Booked) -> Booked:
    joules = None if one.joules is None or other.joules is None else one.joules + other.joules
    sources = tuple(dict.fromkeys(one.sources + other.sources))
    missing = tuple(dict.fromkeys(one.missing + other.missing))
    return Booked(one.purpose, one.kind, one.seconds + other.seconds, joules, sources, missing)


def _note(names: list[str], new: Iterable[str]) -> None:
    names += [name for name in dict.fromkeys(new) if name and name not in names]


def _spent(raw: dict[str, Any]) -> dict[str, Spent]:
    return {purpose: Spent(**values) for purpose, values in raw.items()}
