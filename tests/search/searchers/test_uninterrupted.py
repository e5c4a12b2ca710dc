"""Signals wait until the end of a block that they must not interrupt."""

from __future__ import annotations

import signal
import threading

import pytest

from search.searchers.uninterrupted import DELAYED, uninterrupted


@pytest.mark.parametrize("number", DELAYED)
def test_a_signal_takes_effect_at_the_end(number: int) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, interrupt)
    done = []

    def work() -> None:
        with uninterrupted():
            signal.raise_signal(number)
            signal.raise_signal(number)
            done.append("all of it")

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, before)
    assert done == ["all of it"]


def test_an_error_inside_comes_out_and_handlers_are_as_before() -> None:
    before = [signal.getsignal(number) for number in DELAYED]
    with pytest.raises(ValueError, match="mine"), uninterrupted():
        raise ValueError("mine")
    assert [signal.getsignal(number) for number in DELAYED] == before


def test_other_threads_need_nothing() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]
