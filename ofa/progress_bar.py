"""The progress bar of every verb."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(rows: Iterable[Any] | None = None, **options: Any) -> tqdm[Any]:
    """A tqdm bar on stderr, updated ten times a second on a terminal, twice a minute in a file or a pipe."""
    every = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(rows, file=sys.stderr, dynamic_ncols=True, mininterval=every, maxinterval=max(10.0, every), **options)
