"""Trials that allocate without end, sleep for ever or hold the interpreter's lock for ever: each is
killed from outside of its process, with the reason, and the others finish.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.driver.limit_watcher import broken_limit, descendants, private_gb
from sparsefront.search.driver.limits import Limit, resident_gb
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_end
from tests.helpers import paths
from tests.helpers.faults import check_complete, finished, runs_of, wait_for

MISBEHAVE = '''
"""Found by every Python process of the sweep: trials misbehave on their way to a second rung, each
as its allocation.min_keep says.
"""

import ctypes
import importlib.machinery
import subprocess
import sys
import time

ALLOCATE = "held = []\\nwhile True: held.append(b'x' * 50_000_000)"


def misbehave(min_keep):
    if min_keep == 2:
        exec(ALLOCATE)
    if min_keep == 3:
        subprocess.run([sys.executable, "-S", "-c", ALLOCATE])
    if min_keep == 4:
        time.sleep(1e6)
    if min_keep == 5:
        ctypes.PyDLL(None).sleep(1_000_000)  # a PyDLL keeps the interpreter's lock


class Changed(importlib.machinery.SourceFileLoader):
    def exec_module(self, module):
        super().exec_module(module)
        train_and_evaluate = module.TrialRun.train_and_evaluate

        def changed(trial, rung):
            if rung.steps > 0:
                misbehave(trial.spec.allocation.min_keep)
            return train_and_evaluate(trial, rung)

        module.TrialRun.train_and_evaluate = changed


class Finder:
    def find_spec(name, path=None, target=None):
        if name != "sparsefront.search.trial.run_trial":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = Changed(name, spec.origin)
        return spec


sys.meta_path.insert(0, Finder)
'''
HOW_THEY_END = {
    1: "FINISHED",
    2: "killed for memory",
    3: "killed for memory",
    4: "killed for time",
    5: "killed for time",
}
"""By allocation.min_keep."""


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.faults
def test_misbehaving_trials_are_killed_and_the_others_finish(
    start: Any, run: RunFolder, log: Path
) -> None:
    """The one that behaves finishes; of the others the reason is kept, none goes on elsewhere."""
    (log.parent / "sitecustomize.py").write_text(MISBEHAVE)
    driver = start(
        environment={"PYTHONPATH": f"{log.parent}:{paths.CHECKOUT}"},
        space={"allocation.min_keep": {"choices": list(HOW_THEY_END)}},
        trials=5, rung_timeout_s=40, max_memory_gb=2,
    )  # fmt: skip
    wait_for(lambda: list(run.trials.glob("*/failure.json")), 300, driver, log)
    before = finished(run)
    assert driver.wait(600) == 0, log.read_text()
    check_complete(run, before)
    found = {}
    for child in runs_of(run.runs)[1]:
        reason = child.data.tags.get("sparsefront.reason", child.info.status)
        found[int(child.data.params["allocation.min_keep"])] = reason.partition(":")[0]
        failed = reason_of(run, int(child.data.tags["sparsefront.trial"]))
        assert failed == child.data.tags.get("sparsefront.reason")
    assert found == HOW_THEY_END, log.read_text()
    assert "goes on after its last rung" not in log.read_text()


def reason_of(run: RunFolder, trial_id: int) -> str | None:
    """Why a trial failed; None for another end."""
    end = read_end(run, trial_id)
    return end.reason if end is not None and end.status == "failed" else None


TWO_RUNGS = """
    with limits.over(0):
        pass
    print(limits._watcher.pid, flush=True)
    time.sleep(3)  # between two rungs nothing is limited
    with limits.over(1):
        time.sleep(60)
"""


def started(body: str, run: RunFolder, **options: Any) -> subprocess.Popen[str]:
    """A process with Limits of two seconds, and no torch."""
    script = f"""
    import os, sys, time
    from pathlib import Path
    from sparsefront.search.driver.limits import Limits
    from sparsefront.search.runs.run_folder import RunFolder
    limits = Limits(RunFolder(runs=Path({str(run.runs)!r}), name="hurt"), 2.0, None)
    """
    code = textwrap.dedent(script) + textwrap.dedent(body)
    environment = {**os.environ, "PYTHONPATH": str(paths.CHECKOUT)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def is_watcher(pid: int) -> bool:
    try:
        return b"limit_watcher" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_time_limit_is_of_each_rung_and_the_watcher_ends_with_its_worker(run: RunFolder) -> None:
    """A rung that ended in time is forgotten; the watcher goes with its worker."""
    with started(TWO_RUNGS, run) as worker:
        assert worker.stdout is not None
        watcher = int(worker.stdout.readline())
        wait_until(lambda: is_watcher(watcher))  # Linux names a process a moment after it starts
        assert worker.wait(60) == -signal.SIGKILL
    assert read_end(run, 0) is None
    assert reason_of(run, 1) == "killed for time: over rung_timeout_s 2"
    wait_until(lambda: not is_watcher(watcher))


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_killed_watcher_is_replaced_at_the_next_rung(run: RunFolder) -> None:
    """The next rung has a new one."""
    body = """
    with limits.over(0):
        pass
    limits._watcher.kill()
    limits._watcher.wait()
    with limits.over(1):
        time.sleep(60)
    """
    with started(body, run) as worker:
        assert worker.wait(60) == -signal.SIGKILL
    assert reason_of(run, 1) is not None


def test_memory_that_children_share_counts_once(run: RunFolder) -> None:
    """What they hold alone counts, what they share with their parent counts once."""
    body = """
    held = b"x" * 300_000_000
    forked = [os.fork() for _ in range(2)]  # four processes
    os.write(1, b"forked\\n")  # at once: all write to the same pipe
    if all(forked):
        sys.stdin.readline()
        if os.fork() == 0:
            more = b"y" * 400_000_000
            print("more", flush=True)
    time.sleep(60)
    """
    parent = started(body, run, start_new_session=True, stdin=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdin is not None
    limit = Limit(run=run, trial_id=0, since=time.monotonic(), timeout_s=None, memory_gb=0.6)
    try:
        assert [parent.stdout.readline() for _ in range(4)] == ["forked\n"] * 4
        children = descendants(parent.pid)
        assert len(children) == 3
        assert sum(map(resident_gb, [parent.pid, *children])) > 1.2
        assert sum(map(private_gb, children)) < 0.1
        assert broken_limit(limit, parent.pid) is None
        print(file=parent.stdin, flush=True)
        assert parent.stdout.readline() == "more\n"
        reason = broken_limit(limit, parent.pid)
        assert reason is not None and reason.endswith("GB, over max_memory_gb 0.6")
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.communicate()
    assert broken_limit(limit, parent.pid) is None  # gone
