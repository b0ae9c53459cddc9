"""When a driver hears SIGINT and SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from sparsefront.search.runs.interrupts import ENDING, defer_signals, listen


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ENDING}
    listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_signal_interrupts_at_once(number: int) -> None:
    with pytest.raises(KeyboardInterrupt, match=signal.Signals(number).name):
        os.kill(os.getpid(), number)


def test_deferred_signal_interrupts_at_the_outermost_end() -> None:
    """Of nested ones at the end of the outer one; then it is over."""
    done = []

    def work() -> None:
        with defer_signals():
            with defer_signals():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("inner")
            done.append("outer")
        done.append("never")

    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        work()
    assert done == ["inner", "outer"]
    with defer_signals():
        done.append("later")


def test_second_signal_interrupts_at_once() -> None:
    done = []

    def work() -> None:
        with defer_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("first")
            os.kill(os.getpid(), signal.SIGINT)
            done.append("never")

    with pytest.raises(KeyboardInterrupt, match="SIGINT"):
        work()
    assert done == ["first"]
    with defer_signals():
        done.append("later")


def test_another_thread_defers_no_signal() -> None:
    inside, over = threading.Event(), threading.Event()

    def work() -> None:
        with defer_signals():
            inside.set()
            over.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(10)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    over.set()
    thread.join()
