"""SIGTERM, which Slurm and Docker send before they kill: training ends after the current step and a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class StopSignal:
    """A flag that SIGTERM sets.

    Attributes:
        came: True after the first SIGTERM inside `watched`. A second one has its usual effect.
    """

    def __init__(self) -> None:
        self.came = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Run a block in which SIGTERM only sets `came`; at its end, a signal that came is raised again."""
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
