"""A ledger: time and energy of a run by purpose, which survives kills.

Each rank that works on a run has a file of its own in the run's folder `energy/`, `VERB-RANK.json`, which is complete at any
moment and written at least every `BEAT_S`. Work after the last checkpoint, which a kill undoes, is booked as lost.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ofa.distributed.world import ALONE, World
from ofa.energy.meter import EnergyMeter
from ofa.errors import UserError
from ofa.files.vouched import read_vouched_json, write_vouched_json

TRAINING, EVALUATION, CHECKPOINT, LOST = "training", "evaluation", "checkpoint", "lost"
"""Purposes of a training; every other verb has one purpose."""
BEAT_S = 10.0
"""Seconds between two writings of the file, so the most that a kill can leave unbooked."""
KEPT_MARKS = 4
"""Marks kept: the last one may belong to a checkpoint that was never finished, or to a rank that was a step ahead."""
ADVICE = "delete it to continue without what it had booked"


@dataclass(frozen=True)
class Spent:
    """Time and energy of some work."""

    seconds: float = 0.0
    joules: float = 0.0
    """Joules that were read: a lower bound where `unread_s` is above 0 or a reading lacked a part."""
    unread_s: float = 0.0
    """Seconds for which no energy was read."""

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.seconds + other.seconds, self.joules + other.joules, self.unread_s + other.unread_s)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.seconds - other.seconds, self.joules - other.joules, self.unread_s - other.unread_s)

    @property
    def energy_j(self) -> float | None:
        """The joules; None where no energy was read at all."""
        return None if self.joules == 0 and self.unread_s > 0 else self.joules

    def plain(self) -> dict[str, float | None]:
        """The fields as reports show them, energy None where none was read."""
        return {"seconds": self.seconds, "energy_j": self.energy_j, "unread_s": self.unread_s}


@dataclass
class Account:
    """The content of a ledger's file, or of several."""

    spent: dict[str, Spent] = field(default_factory=dict)
    """Sums by purpose."""
    sources: list[str] = field(default_factory=list)
    """Sources of the readings, counters or reasons why there was none; each once."""
    missing: list[str] = field(default_factory=list)
    """Parts that no sum includes, each once."""
    kills: int = 0
    """Number of times that the process was killed during its work, so that the last seconds were not booked."""
    marks: list[tuple[list[int], dict[str, Spent]]] = field(default_factory=list)
    """Positions in the work to which it can be taken back, ascending, with the sums by purpose up to there."""

    @classmethod
    def read(cls, path: Path) -> Account:
        """The account in a file, empty if there is no file; raises `UserError` where it is damaged."""
        if not path.exists():
            return cls()
        raw = read_vouched_json(path, ADVICE)
        try:
            account = cls(_spent(raw["spent"]), list(raw["sources"]), list(raw["missing"]), raw["kills"])
            account.marks = [(list(place), _spent(spent)) for place, spent in raw["marks"]]
            account.kills += raw["open"]
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: not a ledger ({error}); {ADVICE}") from None
        return account

    def write(self, path: Path, is_open: bool) -> None:
        """Replace the file; `is_open`: True while its process works, and therefore after a kill."""
        write_vouched_json(path, asdict(self) | {"open": is_open})

    def add(self, purpose: str, spent: Spent) -> None:
        """Book for a purpose."""
        self.spent[purpose] = self.spent.get(purpose, Spent()) + spent

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


class Ledger:
    """Books the time and energy of this rank for one purpose after the other.

    Args:
        folder: the folder of a run's ledgers.
        verb: the verb that this process runs; an existing file of that verb is continued.
        meter: the meter of this rank's device; nothing else may use it meanwhile.
        world: the ranks that work together; each has a file of its own.
        beat_s: seconds between two writings of the file.
    """

    def __init__(self, folder: Path, verb: str, meter: EnergyMeter, world: World = ALONE, beat_s: float = BEAT_S) -> None:
        """Raises `UserError` for a damaged file."""
        self.folder, self.verb, self.world = folder, verb, world
        self.path = folder / f"{verb}-{world.rank}.json"
        self.account = Account.read(self.path)
        self.source = ""
        """The source of the last reading."""
        self._meter, self._beat_s = meter, beat_s
        self._purpose = ""
        self._measuring = False
        self._since = Spent()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, purpose: str) -> Spent:
        """Book what was spent since the last call, then measure for `purpose`; returns what was booked."""
        with self._lock:
            spent = self._book()
            self._purpose, self._since = purpose, Spent()
            self._measure()
            if self._thread is None:
                self._done.clear()
                self.account.write(self.path, is_open=True)
                self._thread = threading.Thread(target=self._beat, name="energy-ledger", daemon=True)
                self._thread.start()
        return spent

    def mark(self, place: Sequence[int]) -> dict[str, Any]:
        """Mark the current position; see `Account.mark`."""
        with self._lock:
            return self.account.mark(place)

    def take_back(self, place: Sequence[int] | None, marked: dict[str, Any] | None = None) -> None:
        """Take the work back before the first `begin`; see `Account.take_back`. `marked` is from the mark of rank 0.

        Rank 0 also takes back the ledgers of ranks that no longer exist, as after a restart with fewer processes.
        """
        self.account.take_back(place, marked if self.world.first else None)
        for path in ledger_files(self.folder, self.world):
            if path.stem.startswith(f"{self.verb}-") and path != self.path:
                account = Account.read(path)
                account.take_back(place)
                account.write(path, is_open=False)

    def close(self) -> Spent:
        """Book what was spent since the last call of `begin`, and end; returns what was booked."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._lock:
            spent = self._book()
            self.account.write(self.path, is_open=False)
        return spent

    def _measure(self) -> None:
        self._meter.start()
        self._measuring = True

    def _book(self) -> Spent:
        """Book the meter's reading; returns everything since the last call of `begin`."""
        if self._measuring:
            self._measuring = False
            reading = self._meter.stop()
            unread_s = reading.seconds if reading.joules is None else 0.0
            spent = Spent(reading.seconds, reading.joules or 0.0, unread_s)
            self.account.add(self._purpose, spent)
            self._since += spent
            self.source = reading.source
            _note(self.account.sources, [reading.source])
            _note(self.account.missing, reading.missing)
        return self._since

    def _beat(self) -> None:
        while not self._done.wait(self._beat_s):
            with self._lock, suppress(UserError):  # a full disk: the next write outside this thread raises it
                self._book()
                self._measure()
                self.account.write(self.path, is_open=True)


@contextmanager
def booked(folder: Path, verb: str, purpose: str, meter: EnergyMeter, world: World = ALONE) -> Iterator[None]:
    """Book a block for one purpose; arguments as in `Ledger`."""
    ledger = Ledger(folder, verb, meter, world)
    ledger.begin(purpose)
    try:
        yield
    finally:
        ledger.close()


def ledger_files(folder: Path, world: World) -> list[Path]:
    """The ledgers that a rank accounts for: its own, and on rank 0 also those of ranks that no longer exist."""
    ranks = {path: path.stem.rpartition("-")[2] for path in sorted(folder.glob("*-*.json"))}
    known = ((path, int(rank)) for path, rank in ranks.items() if rank.isdigit())
    return [path for path, rank in known if rank == world.rank or (world.first and rank >= world.size)]


def combined(files: Iterable[tuple[Path, Account]]) -> Account:
    """Several ledgers as one: energies add up; time is that of rank 0, because the other ranks work at the same time."""
    whole = Account()
    for path, account in files:
        first = path.stem.endswith("-0")
        for purpose, spent in account.spent.items():
            whole.add(purpose, spent if first else Spent(joules=spent.joules))
        _note(whole.sources, account.sources)
        _note(whole.missing, account.missing)
        whole.kills += account.kills if first else 0
    if whole.kills:
        _note(whole.missing, [f"at most {BEAT_S:g} s before each of {whole.kills} kills"])
    return whole


def _note(names: list[str], new: Iterable[str]) -> None:
    names += [name for name in dict.fromkeys(new) if name and name not in names]


def _spent(raw: dict[str, Any]) -> dict[str, Spent]:
    return {purpose: Spent(**values) for purpose, values in raw.items()}
