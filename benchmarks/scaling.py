"""Trials an hour on 1, 2, 4 and 8 workers, each on a logical CPU slot of one Ray.

A trial is the tiny one, and then waits, as a driver sees a trial that computes on a GPU elsewhere:
so workers beyond the machine's cores cost it little. The rate is that between the end of the
slowest worker's first trial and the last proposal's end, so that processes starting do not count.
`python -m benchmarks.scaling [SECONDS]` (10: how long a trial waits).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.driver import worker
from sparsefront.search.driver.sweep import run_sweep
from sparsefront.search.driver.worker import TrialActor
from sparsefront.search.runs.run_folder import RunFolder
from tests.helpers.tiny_sweep import make_tiny_checkpoint, make_tiny_data, tiny_sweep

WORKERS = (1, 2, 4, 8)
EACH = 6
"""Trials of every worker."""
WAIT = "SPARSEFRONT_SCALING_WAIT_S"


class WaitingActor(TrialActor):
    """A trial that takes longer without computing."""

    def step(self) -> dict[str, Any]:
        time.sleep(float(os.environ[WAIT]))
        return super().step()


def main() -> None:
    os.environ[WAIT] = sys.argv[1] if len(sys.argv) > 1 else "10"
    worker.TrialActor = WaitingActor  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        root = make_tiny_data(Path(folder) / "data")
        checkpoint = make_tiny_checkpoint(Path(folder) / "tiny.safetensors")
        alone = 0.0
        for workers in WORKERS:
            rate, cpu = measured(Path(folder), tiny_sweep(root, checkpoint), workers)
            alone = alone or rate
            print(
                f"{workers} workers: {rate:.0f} trials an hour, {rate / alone / workers:.0%} of "
                f"{workers} x one; driver {cpu:.2f} CPU s a trial",
                flush=True,
            )


def measured(folder: Path, data: dict[str, Any], workers: int) -> tuple[float, float]:
    """Trials an hour while all workers are at it, and the driver's CPU seconds a trial."""
    trials = EACH * workers
    path = folder / f"{workers}.yaml"
    path.write_text(yaml.safe_dump({**data, "workers": workers, "trials": trials}))
    before = time.process_time()
    run_sweep(read_sweep(path), name=f"on-{workers}", runs=folder)
    cpu = time.process_time() - before
    run = RunFolder(runs=folder, name=f"on-{workers}")
    ends = sorted((run.trial_dir(n) / "result.json").stat().st_mtime for n in run.finished())
    steady = ends[workers - 1 : trials - workers + 1]  # before the first and after the last wave
    return (len(steady) - 1) / (steady[-1] - steady[0]) * 3600, cpu / trials


if __name__ == "__main__":
    main()
