"""Limits that a worker puts on itself: time and memory of a trial."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from search.runs.run_store import RunFolder, write_failure
from search.sweep_file import Sweep

WATCH_S = 0.2


class Limit:
    """Ends this process when a rung takes too long or too much memory, the reason on disk."""

    def __init__(self, run: RunFolder, trial_id: int, sweep: Sweep) -> None:
        self._run, self._trial_id = run, trial_id
        self._timeout_s, self._memory_gb = sweep.rung_timeout_s, sweep.max_memory_gb
        self._finished = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._watcher.start()

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        self._watcher.join()

    def _watch(self) -> None:
        started = time.monotonic()
        while not self._finished.wait(WATCH_S):
            if self._timeout_s is not None and time.monotonic() - started > self._timeout_s:
                self._end(f"killed for time: over rung_timeout_s {self._timeout_s:g}")
            used = resident_gb()
            if self._memory_gb is not None and used > self._memory_gb:
                self._end(
                    f"killed for memory: {used:.2f} GB, over max_memory_gb {self._memory_gb:g}"
                )

    def _end(self, reason: str) -> None:
        try:
            write_failure(self._run, self._trial_id, None, reason)
        finally:  # also where the disk is full
            os._exit(1)


def resident_gb() -> float:
    """Resident memory of this process in 1e9 bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9
