"""What the driver costs a trial: proposals, front, table, MLflow, all but Ray and the trial itself.

`python -m benchmarks.driver_cost 2000` feeds the searcher that many finished trials (the folder of
a real one, its numbers changed) and prints CPU seconds a trial and resident memory on the way.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from sparsefront.files.atomic import write_json
from sparsefront.search.config.sweep_file import Sweep, read_sweep
from sparsefront.search.driver.finished import FinishedTrials
from sparsefront.search.driver.limits import resident_gb
from sparsefront.search.driver.listeners import Listeners
from sparsefront.search.driver.live import Live
from sparsefront.search.driver.searcher import OptunaSearcher, TrialWatcher
from sparsefront.search.optimizer.for_sweep import optimizer_of
from sparsefront.search.reports.live_front import LiveFront
from sparsefront.search.reports.mlflow_logger import MlflowLogger
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_writer import write_trial
from sparsefront.search.trial.run_trial import run_trial

SWEEP = Path("examples/demo.yaml")
MARKS = (50, 100, 150, 200, 500, 1000, 1500, 2000)


def main() -> None:
    trials = int(sys.argv[1])
    sweep = replace(read_sweep(SWEEP), sampler="auto", trials=trials)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(runs=Path(folder), name="driver")
        template = finished_trial(sweep, Path(folder) / "template")
        drive(sweep, run, template, trials)


def finished_trial(sweep: Sweep, folder: Path) -> dict[str, object]:
    """result.json of a real trial, not fine-tuned."""
    spec = replace(sweep.trial, fine_tune=replace(sweep.trial.fine_tune, steps=0))
    path = write_trial(RunFolder(runs=folder, name="one"), 0, run_trial(spec))
    found: dict[str, object] = json.loads((path / "result.json").read_text())
    write_json(folder / "spec.json", json.loads((path / "spec.json").read_text()))
    return found


def drive(sweep: Sweep, run: RunFolder, template: dict[str, object], trials: int) -> None:
    optimizer = optimizer_of(sweep, run.journal)
    logger = MlflowLogger(sweep, run, "launch", f"sqlite:///{run.runs}/mlflow.db")
    logger.reconcile(optimizer)
    finished = FinishedTrials(sweep, run)
    random = np.random.default_rng(0)
    live = Live(sweep, optimizer, finished)
    drawn = LiveFront(sweep, run, logger.log_front)
    listeners = Listeners(finished, live, logger, drawn)
    searcher = OptunaSearcher(sweep, optimizer, run, listeners, TrialWatcher(live), [])
    spec = (run.runs / "template" / "spec.json").read_text()
    began, last = time.process_time(), 0
    for number in range(trials):
        requested = searcher.suggest(f"t{number}")
        folder = run.trial_dir(requested["trial_id"])
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(spec)
        write_json(folder / "result.json", result_of(template, requested["values"], random))
        searcher.on_trial_complete(f"t{number}")
        shutil.rmtree(folder)
        if number + 1 in MARKS:
            spent = (time.process_time() - began) / (number + 1 - last)
            began, last = time.process_time(), number + 1
            print(
                f"{number + 1} trials: {spent:.3f} CPU s a trial since the last line, resident "
                f"{resident_gb():.2f} GB", flush=True,
            )  # fmt: skip
    print(f"the front was drawn {drawn.drawings} times in {drawn.spent_s:.1f} s")


def result_of(
    template: dict[str, object], values: dict[str, float], random: np.random.Generator
) -> dict[str, object]:
    """Quality falls with the mean sparsity, cost as well, with some noise."""
    mean = float(np.mean(list(values.values())))
    metrics = dict(template["metrics"])  # type: ignore[call-overload]
    metrics["mAP"] = 0.7 * (1 - mean**3) * float(random.uniform(0.9, 1.0))
    metrics["NDS"] = 0.6 * (1 - mean**3) * float(random.uniform(0.9, 1.0))
    metrics["GFLOPs"] = 2 * metrics["GMACs_dense"] * (1 - mean)
    return {**template, "metrics": metrics}


if __name__ == "__main__":
    main()
