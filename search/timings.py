"""Seconds of a trial by stage, over all the processes that worked on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timings:
    """seconds: stage -> wall seconds; total_s counts everything since this object was made."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started, self._before = time.monotonic(), 0.0

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started

    def with_total(self) -> dict[str, float]:
        return {**self.seconds, "total_s": self._before + time.monotonic() - self._started}

    def add(self, earlier: dict[str, float]) -> None:
        """What another process spent on the same trial before."""
        earlier = dict(earlier)
        self._before += earlier.pop("total_s")
        for stage, seconds in earlier.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
