"""Warnings of other libraries, kept back until the verb ends and told once each: in between they cut through progress bars.

Processes that decode images inherit the keeping; they leave theirs in a file, which the first process reads.
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
"""Characters of a warning."""


class LateWarnings:
    """Warnings so far: of this process in memory, of its children in a file."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._own: Counter[str] = Counter()
        self._file: IO[str] = tempfile.TemporaryFile("a+", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed by `end`

    def note(self, source: str, message: str) -> None:
        """Keep a warning of a library."""
        line = f"{source}: {' '.join(message.split())}"[:SHOWN]
        if os.getpid() == self._process:
            self._own[line] += 1
        else:
            self._file.write(json.dumps(line) + "\n")

    def end(self) -> Iterator[str]:
        """A line for each distinct warning, in the order they came, with how often it did."""
        self._file.seek(0)
        for line in self._file:
            self._own[json.loads(line)] += 1
        self._file.close()
        for line, times in self._own.items():
            yield f"{line} ({times} times)" if times > 1 else line


class _Keeping(logging.Handler):
    """For loggers that no one handles, whose warnings Python would print."""

    def __init__(self, kept: LateWarnings) -> None:
        super().__init__(logging.WARNING)
        self.kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.kept.note(record.name, record.getMessage())


@contextmanager
def warned_at_the_end(verb: str) -> Iterator[None]:
    """A block whose warnings (`warnings`, and `logging` where nobody handles it) are told on standard error behind it.

    Of several processes that torchrun started, the first one tells.
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
    """True for the one of several processes (`torchrun`) that speaks for all, and for a single one."""
    return os.environ.get("RANK", "0") == "0"


def _library(filename: str) -> str:
    """The package that a file is part of."""
    parts = Path(filename).parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts[:-1]:
            return parts[parts.index(folder) + 1].removesuffix(".py")
    return Path(filename).stem
