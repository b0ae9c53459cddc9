"""SIGINT and SIGTERM end a driver in order: at once, or after what must not be cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM)

_depth = 0
_deferred: int | None = None
"""A signal that is deferred; handlers of a process have no other place to keep it."""


def listen() -> None:
    """From here on both raise KeyboardInterrupt in the main thread."""
    for number in ENDING:
        signal.signal(number, _interrupt)


@contextmanager
def interruptible() -> Iterator[None]:
    """The same inside; on leaving, the handlers of before are back."""
    before = {number: signal.getsignal(number) for number in ENDING}
    listen()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """SIGINT and SIGTERM wait for the end of what is inside, as a database that is left in the
    middle of a write stays locked for this process. A second signal interrupts at once.
    """
    global _depth, _deferred
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0 and _deferred is not None:
            number, _deferred = _deferred, None
            _raise(number)


def _interrupt(number: int, frame: object) -> None:
    global _deferred
    if _depth and _deferred is None:
        _deferred = number
    else:
        _deferred = None
        _raise(number)


def _raise(number: int) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
