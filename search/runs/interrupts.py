"""SIGINT and SIGTERM end a driver in order: at once, or after what must not be cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM)

_depth = 0
_came: int | None = None
"""A signal that waits for the end of what is whole; handlers of a process have no other place."""


def listen() -> None:
    """From here on both raise KeyboardInterrupt in the main thread."""
    for number in ENDING:
        signal.signal(number, _interrupt)


@contextmanager
def whole() -> Iterator[None]:
    """What is done inside is done to its end before a signal is heard, as a database that is left
    in the middle of a write stays locked for this process. A second signal is heard at once.
    """
    global _depth, _came
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0 and _came is not None:
            number, _came = _came, None
            _raise(number)


def _interrupt(number: int, frame: object) -> None:
    global _came
    if _depth and _came is None:
        _came = number
    else:
        _came = None
        _raise(number)


def _raise(number: int) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
