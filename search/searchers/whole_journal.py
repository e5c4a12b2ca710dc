"""optuna's journal file, kept readable: a record is in it whole or not at all, whatever stops the process that writes it.

optuna appends without looking at what is there, so the half record that a full disk or a kill leaves is glued to the next
one, and nobody can read the journal again. Here a writer cuts off what it could not finish, or what another did not; the
records before stay as they are. Import this late: optuna takes a second.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from search.searchers.uninterrupted import uninterrupted

BLOCK_BYTES = 65_536


class WholeJournal(JournalFileBackend):
    """`JournalFileBackend` whose appends are all or nothing; other processes may use either on the same file."""

    def __init__(self, path: str) -> None:
        self._path, self._writers = path, JournalFileSymlinkLock(path)
        super().__init__(path, self._writers)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add records, and to the disk; raises `OSError` where there is no room, with the file as it was."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with uninterrupted():  # an exception inside optuna's lock leaves it locked, for this process too
            self._append(lines)

    def _append(self, lines: bytes) -> None:
        self._writers.acquire()
        try:
            with open(self._path, "r+b", buffering=0) as file:
                whole = _end_of_last_record(file.fileno())
                os.ftruncate(file.fileno(), whole)
                try:
                    rest = memoryview(lines)
                    while rest:
                        rest = rest[os.pwrite(file.fileno(), rest, whole + len(lines) - len(rest)) :]
                    os.fsync(file.fileno())
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.ftruncate(file.fileno(), whole)
                    raise
        finally:
            with contextlib.suppress(RuntimeError):  # it took so long that another process has ended the lock
                self._writers.release()


def _end_of_last_record(descriptor: int) -> int:
    """The size of a journal without a last record that nobody finished."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
