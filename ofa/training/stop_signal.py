"""SIGTERM, which Slurm and Docker send before they kill: training ends after the current step and a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ofa.distributed.world import ALONE, World


class StopSignal:
    """A flag that SIGTERM to this rank sets, and the agreement of all ranks of `world` on the step after which to stop.

    Attributes:
        came: True after the first SIGTERM inside `watched`. A second one has its usual effect.
    """

    def __init__(self, world: World = ALONE) -> None:
        self.came = False
        self._world = world
        self._asked: Callable[[], bool] | None = None

    def agreed(self) -> bool:
        """True on all ranks after the same step, once one has been asked to end; called by all after every step.

        The result of the exchange after a step is read only after the next step, so that no step waits for it.
        """
        if self._world.size == 1:
            return self.came
        before, self._asked = self._asked, self._world.any_later(self.came)
        if before is None or not before():
            return False
        self._asked()  # the last exchange, which all have begun
        self.came = True
        return True

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
