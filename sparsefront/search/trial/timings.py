"""Seconds of a trial by stage, over all the processes that worked on it one after another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timings:
    """seconds: stage -> wall seconds; with_total adds total_s, everything since this object was
    made, and cpu_s, what this process computed since then.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started, self._before = _clocks(), {"total_s": 0.0, "cpu_s": 0.0}

    @contextmanager
    def stage(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started

    def with_total(self) -> dict[str, float]:
        now = _clocks()
        spent = {name: self._before[name] + now[name] - self._started[name] for name in now}
        return {**self.seconds, **spent}

    def add(self, earlier: dict[str, float]) -> None:
        """What another process spent on the same trial before."""
        for stage, seconds in earlier.items():
            into = self._before if stage in self._before else self.seconds
            into[stage] = into.get(stage, 0.0) + seconds


def _clocks() -> dict[str, float]:
    return {"total_s": time.monotonic(), "cpu_s": time.process_time()}
