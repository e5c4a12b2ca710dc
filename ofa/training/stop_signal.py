"""SIGTERM, as Slurm and Docker send it before they kill: noted at once, obeyed after the step and its checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class StopSignal:
    """Whether this process has been asked to end.

    Attributes:
        came: set by the first SIGTERM inside `watched`. A second one ends the process at once, as before.
    """

    def __init__(self) -> None:
        self.came = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A block in which SIGTERM waits for `came` to be looked at; what waits at its end is sent again."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may handle signals
            return
        before = signal.getsignal(signal.SIGTERM)

        def note(number: int, frame: object) -> None:
            self.came = True
            signal.signal(signal.SIGTERM, before)

        signal.signal(signal.SIGTERM, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
            if self.came:
                signal.raise_signal(signal.SIGTERM)
