"""Converters print progress, remarks and warnings, some of them from C++: a block without all that."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(into: int | None = None) -> Iterator[None]:
    """Send standard output and error nowhere, at the level of file descriptors too, and drop log messages and warnings.

    With a file descriptor, what is written to those of output and error goes `into` it.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    copies = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    unseen = io.StringIO() if into is None else os.fdopen(os.dup(into), "w", encoding="utf-8")
    try:
        for number in (1, 2):
            os.dup2(nowhere if into is None else into, number)
        with unseen, contextlib.redirect_stdout(unseen), contextlib.redirect_stderr(unseen), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for number, copy in zip((1, 2), copies, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)
        logging.disable(before)
