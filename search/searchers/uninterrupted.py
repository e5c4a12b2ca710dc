"""A block that signals do not interrupt, for code of others that an exception at any line would leave half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

DELAYED = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Run a block; Ctrl-C and SIGTERM that come meanwhile take effect at its end.

    Python runs signal handlers in the main thread only, so in other threads nothing needs to be delayed. Keep
    the block short.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in DELAYED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for waited in came[:1]:
            signal.raise_signal(waited)
