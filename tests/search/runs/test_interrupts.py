"""When a driver hears SIGINT and SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from sparsefront.search.reports.mlflow_store import WholeCalls
from sparsefront.search.runs.interrupts import ENDING, defer_signals, listen


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ENDING}
    listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_at_once(number: int) -> None:
    with pytest.raises(KeyboardInterrupt, match=signal.Signals(number).name):
        os.kill(os.getpid(), number)


def test_after_what_is_whole() -> None:
    """Also of what is whole inside of it; then it is over."""
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


def test_twice_means_now() -> None:
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


class Slow:
    """A client whose writes are interrupted in their middle."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, what: str, *, again: str = "") -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        self.written.append(what + again)
        return what


def test_a_write_to_mlflow() -> None:
    client = Slow()
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        WholeCalls(client).write("a", again="b")
    assert client.written == ["ab"]


def test_another_thread_holds_nothing_up() -> None:
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
