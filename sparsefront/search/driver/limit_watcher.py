"""The process beside a worker that kills it when a rung takes too long or too much memory.

`python -m sparsefront.search.driver.limit_watcher FD`, from limits.py. It imports no torch: it
starts in a tenth of a second and holds 20 MB.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from sparsefront.files.atomic import write_json
from sparsefront.search.config.trial_files import FAILURE
from sparsefront.search.driver.limits import Limit, resident_gb
from sparsefront.search.runs.run_folder import has_ended

WATCH_S = 0.2


def watch(worker: int, limits: Connection) -> None:
    """Keeps the limits that the worker, its parent, tells, one after another; returns when that
    process is gone.
    """
    limit: Limit | None = None
    while os.getppid() == worker:
        try:
            if limits.poll(WATCH_S):
                limit = limits.recv()
                continue
        except (EOFError, ConnectionError):
            return
        if limit is not None and (reason := broken_limit(limit, worker)) is not None:
            _end(worker, limits, limit, reason)


def broken_limit(limit: Limit, worker: int) -> str | None:
    """Why the worker has to go; None while it keeps its limits."""
    if limit.timeout_s is not None and time.monotonic() - limit.since > limit.timeout_s:
        return f"killed for time: over rung_timeout_s {limit.timeout_s:g}"
    if limit.memory_gb is None:
        return None
    children = descendants(worker)
    if sum(map(resident_gb, [worker, *children])) <= limit.memory_gb:
        return None
    # what a child shares with its parent was counted twice, and the exact count takes longer
    used = resident_gb(worker) + sum(map(private_gb, children))
    if used <= limit.memory_gb:
        return None
    return f"killed for memory: {used:.2f} GB, over max_memory_gb {limit.memory_gb:g}"


def descendants(pid: int) -> list[int]:
    """Children of a process and theirs, but for this process."""
    found = []
    with suppress(OSError):  # it has just ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children = map(int, (thread / "children").read_text().split())
            found += [child for child in children if child != os.getpid()]
    return found + [below for child in found for below in descendants(child)]


def private_gb(pid: int) -> float:
    """Resident memory that no other process maps, in 1e9 bytes; 0 where it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1.024e-6
    return 0.0


def _end(worker: int, limits: Connection, limit: Limit, reason: str) -> None:
    """Frozen first: while the reason is written nothing is allocated, and no trial ends."""
    _signal([worker], signal.SIGSTOP)
    if limits.poll(0):  # the rung ended in time
        _signal([worker], signal.SIGCONT)
        return
    _signal(descendants(worker), signal.SIGSTOP)
    try:
        _write_failure(limit, reason)
    finally:  # also where the disk is full
        _signal([*descendants(worker), worker], signal.SIGKILL)


def _write_failure(limit: Limit, reason: str) -> None:
    """As runs/trial_writer.py, without torch."""
    folder = limit.run.trial_dir(limit.trial_id)
    if has_ended(folder):
        return
    write_json(folder / FAILURE, {"reason": reason})
    limit.run.publish(limit.trial_id)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    watch(os.getppid(), Connection(int(sys.argv[1])))
