"""A ledger: time and energy of a run by purpose, which survives kills.

Each rank that works on a run has a file of its own in the run's folder `energy/`, `VERB-RANK.json`, which is complete at any
moment and written at least every `BEAT_S`. Work after the last checkpoint, which a kill undoes, is booked as lost.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ofa.distributed.world import ALONE, World
from ofa.energy.account import BEAT_S, Account, Spent
from ofa.energy.reading import Meter
from ofa.errors import UserError
from ofa.files.output import locked_output

LOCK_S = 60.0
"""Seconds to wait for another process that books in the same ledger."""


class Ledger:
    """Books the time and energy of this rank for one purpose after the other.

    Args:
        folder: the folder of a run's ledgers.
        verb: the verb that this process runs; an existing file of that verb is continued.
        meter: the meter of this rank's device; nothing else may use it meanwhile.
        world: the ranks that work together; each has a file of its own.
        beat_s: seconds between two writings of the file.
    """

    def __init__(self, folder: Path, verb: str, meter: Meter, world: World = ALONE, beat_s: float = BEAT_S) -> None:
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
            self._since += self.account.book(self._purpose, reading)
            self.source = reading.source
        return self._since

    def _beat(self) -> None:
        while not self._done.wait(self._beat_s):
            with self._lock, suppress(UserError):  # a full disk: the next write outside this thread raises it
                self._book()
                self._measure()
                self.account.write(self.path, is_open=True)


@contextmanager
def booked(folder: Path, verb: str, purpose: str, meter: Meter, world: World = ALONE) -> Iterator[None]:
    """Book a block for one purpose; arguments as in `Ledger`."""
    ledger = Ledger(folder, verb, meter, world)
    ledger.begin(purpose)
    try:
        yield
    finally:
        ledger.close()


@contextmanager
def booked_beside(
    folder: Path, verb: str, purpose: str, meter: Meter, world: World = ALONE, beat_s: float = BEAT_S
) -> Iterator[None]:
    """Book a block of a verb that several processes may run on one run at a time, in a ledger that they share.

    Each of them locks it for as long as it takes to add its last seconds, every `beat_s`: so much a kill can leave unbooked.
    A ledger that cannot be written, as in a folder that is read-only, leaves a warning: the work does not fail for its
    booking.
    """
    path, done = folder / f"{verb}-{world.rank}.json", threading.Event()

    def add() -> None:
        reading = meter.stop()
        try:
            path.parent.mkdir(exist_ok=True)
            with locked_output(path, LOCK_S):
                account = Account.read(path)
                account.book(purpose, reading)
                account.write(path, is_open=False)
        except (OSError, UserError) as error:
            print(f"warning: {reading.seconds:.3g} s of {purpose} are not booked: {error}", file=sys.stderr)

    def beat() -> None:
        while not done.wait(beat_s):
            add()
            meter.start()

    meter.start()
    thread = threading.Thread(target=beat, name="energy-ledger", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        add()


def ledger_files(folder: Path, world: World) -> list[Path]:
    """The ledgers that a rank accounts for: its own, and on rank 0 also those of ranks that no longer exist."""
    ranks = {path: path.stem.rpartition("-")[2] for path in sorted(folder.glob("*-*.json"))}
    known = ((path, int(rank)) for path, rank in ranks.items() if rank.isdigit())
    return [path for path, rank in known if rank == world.rank or (world.first and rank >= world.size)]
