"""A long sweep of tiny trials whose driver or workers are killed every 20 to 60 seconds, resumed
until it is complete, then checked; and what each driver's memory grew by meanwhile. Minutes to
hours; no part of the tests. `make soak`, or `python -m benchmarks.soak [TRIALS] [SEED] [EVERY_S]`
(500, 0; seconds that a driver is left alone, where not 20 to 60); the folder stays where a check
fails.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sparsefront.search.driver.limits import resident_gb
from sparsefront.search.runs.run_folder import RunFolder
from tests.helpers.faults import (
    ENDINGS,
    Finished,
    check_complete,
    finished,
    halved,
    kill_workers,
    spawn,
)
from tests.helpers.tiny_sweep import make_tiny_checkpoint, make_tiny_data, tiny_sweep

EVERY_S = (20.0, 60.0)
STRIDE = 100
STARTED = "scoring the dense model"
"""What a driver says right before its trials."""


@dataclass
class Driver:
    """One process that drove the sweep: (trials ended, resident memory in GB) as they ended."""

    samples: list[tuple[int, float]] = field(default_factory=list)

    def line(self) -> str:
        (first, start), (last, end) = self.samples[0], self.samples[-1]
        peak = max(gb for _, gb in self.samples)
        grown = 1000 * (end - start)
        return (
            f"{last - first:4} trials ({first} to {last}): {start:.3f} to {end:.3f} GB, "
            f"peak {peak:.3f}, grown by {grown:.1f} MB; every {STRIDE}: {self._on_the_way()}"
        )

    def _on_the_way(self) -> str:
        """Memory after so many trials, as it was noted then."""
        found, wanted = [], 0
        for ended, gb in self.samples:
            if ended >= wanted:
                found.append(f"{gb:.3f}")
                wanted = (ended // STRIDE + 1) * STRIDE
        return " ".join(found)


@dataclass
class Soak:
    """What was done to the sweep, by name, and who drove it."""

    done: Counter[str] = field(default_factory=Counter)
    drivers: list[Driver] = field(default_factory=list)


def soaked(folder: Path, trials: int, seed: int, every_s: tuple[float, float]) -> Soak:
    """Runs the sweep to its end. AssertionError where a check fails or a driver ends by itself
    without being done.
    """
    sweep = folder / "sweep.yaml"
    sweep.write_text(yaml.safe_dump(_data(folder, trials)))
    run = RunFolder(runs=folder / "runs", name="soak")
    choose = random.Random(seed)
    soak = Soak()
    before: Finished = {}
    began = time.monotonic()
    while True:
        verb = ("resume", "soak") if run.exists() else ("sweep", sweep, "--name", "soak")
        driver = spawn(*verb, "--runs", run.runs, cwd=folder)
        soak.drivers.append(Driver())
        while _waited(driver, run, choose.uniform(*every_s), soak.drivers):
            what = choose.choice(["driver", "workers"])
            if what == "driver":
                driver.send_signal(signal.SIGKILL)
                driver.wait()
            else:
                kill_workers(folder)
            _unchanged(before)
            before = finished(run)
            soak.done[f"{what} killed"] += 1
            print(f"{time.monotonic() - began:6.0f} s  {len(run.finished()):4} finished  {what}",
                  flush=True)  # fmt: skip
        if driver.returncode != -signal.SIGKILL:
            assert driver.returncode == 0, (folder / "driver.log").read_text()[-3000:]
            check_complete(run, before)
            assert not list(run.trials.glob("*/failure.json"))
            return soak


def _waited(process: Any, run: RunFolder, seconds: float, drivers: list[Driver]) -> bool:
    """Waits until a trial has ended, however slow this machine is, and then so long; False where
    the driver ends first. Notes the memory of the last driver after each trial, but for one that
    workers of the driver before ended while this one was starting.
    """
    log = run.runs.parent / "driver.log"
    at_first = last = _ended(run)
    until = None
    while process.poll() is None:
        time.sleep(0.2)
        ended = _ended(run)
        if ended > last:
            last = ended
            if log.read_text().count(STARTED) == len(drivers):
                drivers[-1].samples.append((ended, resident_gb(process.pid)))
        if until is None and ended > at_first:
            until = time.monotonic() + seconds
        if until is not None and time.monotonic() > until:
            return True
    return False


def _ended(run: RunFolder) -> int:
    return sum(1 for name in ENDINGS for _ in run.trials.glob(f"*/{name}.json"))


def _unchanged(before: Finished) -> None:
    for path, kept in before.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == kept, f"{path} has changed"


def _data(folder: Path, trials: int) -> dict[str, Any]:
    """One fine-tuning step, a rung before it."""
    root = make_tiny_data(folder / "data")
    data = halved(tiny_sweep(root, make_tiny_checkpoint(folder / "tiny.safetensors")))
    data["trial"]["fine_tune"]["steps"] = 1
    rungs = {"rungs": [{"steps": 0}], "reduction": 3, "safe": 99}
    return {**data, "trials": trials, "halving": rungs, "max_restarts": 100}


def main() -> None:
    trials, seed = [*map(int, sys.argv[1:3]), *(500, 0)[len(sys.argv[1:3]) :]]
    every_s = (float(sys.argv[3]), float(sys.argv[3])) if len(sys.argv) > 3 else EVERY_S
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    began = time.monotonic()
    print(f"{trials} trials, seed {seed}, in {folder}", flush=True)
    soak = soaked(folder, trials, seed, every_s)
    said = ", ".join(f"{what} {count} times" for what, count in sorted(soak.done.items()))
    print(f"complete after {time.monotonic() - began:.0f} s: {said or 'nothing killed'}")
    print("resident memory of the drivers, Ray Tune in them, from their first trial to their last:")
    for driver in soak.drivers:
        if driver.samples:
            print(f"  {driver.line()}")


if __name__ == "__main__":
    main()
