"""Limits of a trial's way to its next rung: time and memory, kept from outside of its worker.

A process beside the worker (limit_watcher.py) keeps them: code that never comes back to Python, as
it holds the interpreter's lock, could not be ended from inside.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from sparsefront.search.runs.run_folder import RunFolder

PAGE_GB = os.sysconf("SC_PAGE_SIZE") / 1e9


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What the watcher has to know of a rung.

    since      time.monotonic() at its start; all processes of a machine share that clock
    timeout_s, memory_gb   None: no such limit
    """

    run: RunFolder
    trial_id: int
    since: float
    timeout_s: float | None
    memory_gb: float | None


class Limits:
    """Of all trials in this process, one after another. The watcher starts with the first rung that
    has a limit and ends with this process, however that ends.
    """

    def __init__(self, run: RunFolder, timeout_s: float | None, memory_gb: float | None) -> None:
        self._run, self._timeout_s, self._memory_gb = run, timeout_s, memory_gb
        self._watcher: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    @contextmanager
    def over(self, trial_id: int) -> Iterator[None]:
        """While in here this process is killed when it takes too long, or too much memory with its
        children; the trial has failed then, its reason on disk.
        """
        if self._timeout_s is None and self._memory_gb is None:
            yield
            return
        watcher = self._to_watcher()
        limit = Limit(
            run=self._run, trial_id=trial_id, since=time.monotonic(),
            timeout_s=self._timeout_s, memory_gb=self._memory_gb,
        )  # fmt: skip
        watcher.send(limit)
        try:
            yield
        finally:
            watcher.send(None)

    def close(self) -> None:
        """Ends the watcher."""
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.wait()

    def _to_watcher(self) -> Connection:
        if self._connection is None or self._watcher is None or self._watcher.poll() is not None:
            self._connection, theirs = Pipe()
            command = ["-m", "sparsefront.search.driver.limit_watcher", str(theirs.fileno())]
            self._watcher = subprocess.Popen(
                [sys.executable, *command],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C is not for it
            )
            theirs.close()
        return self._connection


def resident_gb(pid: int | str = "self") -> float:
    """Resident memory of a process in 1e9 bytes; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_GB
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
