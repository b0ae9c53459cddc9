"""The Ray actor that runs trials one after another, and the limits it puts on itself."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from search.run_store import RunFolder, write_failure, write_trial
from search.shared import Shared, prepare
from search.space import with_values
from search.sweep_file import Sweep
from search.trial import run_trial

WATCH_S = 0.2


class TrialActor(Trainable):
    """Runs one trial a step; what it measured is on disk before Ray hears of it."""

    def setup(  # type: ignore[override]  # tune.with_parameters gives the rest
        self, config: dict[str, Any], shared: Shared, sweep: Sweep, run: RunFolder
    ) -> None:
        self.shared, self.sweep, self.run_folder = shared, sweep, run
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial in this process: imports, data and dense weights stay."""
        self.number, self.values = int(new_config["trial_id"]), dict(new_config["values"])
        return True

    def step(self) -> dict[str, Any]:
        limit = Limit(self.run_folder, self.number, self.sweep)
        with limit:
            failure = self._run()
        return {"done": True, "trial_id": self.number, "failure": failure}

    def _run(self) -> str | None:
        """None, or why the trial failed (also on disk)."""
        spec = None
        try:
            spec = with_values(self.sweep.trial, self.values)
            self.shared = prepare(spec, self.shared)
            outcome = run_trial(spec, self.shared)
            write_trial(self.run_folder, self.number, spec, outcome)
            return None
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            write_failure(self.run_folder, self.number, spec, reason)
            return reason

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a finished trial is in the run folder, an unfinished one starts again."""


class Limit:
    """Ends this process when a trial takes too long or too much memory, the reason on disk."""

    def __init__(self, run: RunFolder, trial_id: int, sweep: Sweep) -> None:
        self._run, self._trial_id = run, trial_id
        self._timeout_s, self._memory_gb = sweep.trial_timeout_s, sweep.max_memory_gb
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
                self._end(f"killed for time: over trial_timeout_s {self._timeout_s:g}")
            used = resident_gb()
            if self._memory_gb is not None and used > self._memory_gb:
                self._end(
                    f"killed for memory: {used:.2f} GB, over max_memory_gb {self._memory_gb:g}"
                )

    def _end(self, reason: str) -> None:
        write_failure(self._run, self._trial_id, None, reason)
        os._exit(1)


def resident_gb() -> float:
    """Resident memory of this process in 1e9 bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9
