"""Hold back warnings of other libraries until the verb ends, and print each once: earlier they would break progress bars.

Child processes that decode images inherit this and write their warnings to a file, which the first process reads.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

SHOWN = 200
"""Characters shown of a warning."""


class LateWarnings:
    """The warnings held back: those of this process in memory, those of its children in a file."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._own: Counter[str] = Counter()
        self._file: IO[str] = tempfile.TemporaryFile("a+", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed by `end`

    def note(self, source: str, message: str) -> None:
        """Hold back a warning of a library."""
        line = f"{source}: {' '.join(_without_trace(message).split())}"[:SHOWN]
        if os.getpid() == self._process:
            self._own[line] += 1
        else:
            self._file.write(json.dumps(line) + "\n")

    def end(self) -> Iterator[str]:
        """A line for each distinct warning, in the order of first occurrence, with the number of occurrences."""
        self._file.seek(0)
        for line in self._file:
            self._own[json.loads(line)] += 1
        self._file.close()
        for line, times in self._own.items():
            yield f"{line} ({times} times)" if times > 1 else line


class _Keeping(logging.Handler):
    """Handles records of loggers without a handler of their own, which Python would print at once."""

    def __init__(self, kept: LateWarnings) -> None:
        super().__init__(logging.WARNING)
        self.kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        """Hold back a record."""
        self.kept.note(record.name, record.getMessage())


@contextmanager
def warned_at_the_end(verb: str) -> Iterator[None]:
    """Hold back warnings inside a block (of `warnings`, and of loggers without handler); print them on stderr at its end.

    Of several processes that torchrun started, only the first prints.
    """
    kept = LateWarnings()

    def show(message: Warning | str, category: type[Warning], filename: str, *rest: Any) -> None:
        kept.note(_library(filename), str(message))

    before_show, before_handler = warnings.showwarning, logging.lastResort
    warnings.showwarning = show  # type: ignore[assignment]
    logging.lastResort = _Keeping(kept)
    try:
        yield
    finally:
        warnings.showwarning, logging.lastResort = before_show, before_handler
        for line in kept.end():
            if first_rank():
                print(f"ofa {verb}: warning: {line}", file=sys.stderr)


def first_rank() -> bool:
    """True for a single process, and for rank 0 of the processes of `torchrun`, which prints for all."""
    return os.environ.get("RANK", "0") == "0"


def _without_trace(message: str) -> str:
    """A message with the last line of a traceback in the place of the whole: some libraries log theirs."""
    before, trace, after = message.partition("Traceback (most recent call last)")
    return f"{before}{after.strip().splitlines()[-1]}" if trace else message


def _library(filename: str) -> str:
    """The package to which a file belongs."""
    parts = Path(filename).parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts[:-1]:
            return parts[parts.index(folder) + 1].removesuffix(".py")
    return Path(filename).stem
