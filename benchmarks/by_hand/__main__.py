"""`python -m benchmarks.by_hand SCENES_FOLDER --trials 24 --out DIR`, from the repository's root.

DIR/records.jsonl has a line for each trial as it ends; `benchmarks.fronts_over_time` reads it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch

from benchmarks.by_hand.records import Records
from benchmarks.by_hand.task import (
    CHECKPOINT,
    MODALITIES,
    MOST,
    Task,
    cost_profile,
    demo_task,
)
from benchmarks.by_hand.trial import train
from sparsefront.models.checkpoint import store


def main() -> int:
    options = parsed()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    task = replace(demo_task(str(options.scenes.absolute())), norm_frames=options.norm_frames)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # loopback only, gone with this process
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    about = {
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
        "trials": options.trials,
        "workers": options.workers,
        "reuse_actors": options.reuse_actors,
        "seed": options.seed,
        "norm_frames": options.norm_frames,
    }
    records = Records(out / "records.jsonl", about)
    results = tuner(task, options, out, records).fit()
    records.finish()
    ray.shutdown()
    for error in results.errors:
        print(f"by_hand: {error}", file=sys.stderr)
    return 1 if results.errors else 0


def tuner(task: Task, options: argparse.Namespace, out: Path, records: Records) -> tune.Tuner:
    state = store.load(CHECKPOINT)[0]
    trainable = tune.with_parameters(
        train, state=state, task=task, profile=cost_profile(task, state)
    )
    search = OptunaSearch(
        metric=["mAP", "NDS", "GFLOPs"], mode=["max", "max", "min"], seed=options.seed
    )
    mlflow = MLflowLoggerCallback(
        tracking_uri=f"sqlite:///{out / 'mlflow.db'}", experiment_name="by-hand"
    )
    return tune.Tuner(
        tune.with_resources(trainable, {"CPU": 1}),
        param_space={modality: tune.uniform(0.0, MOST) for modality in MODALITIES},
        tune_config=tune.TuneConfig(
            search_alg=search,
            num_samples=options.trials,
            max_concurrent_trials=options.workers,
            reuse_actors=options.reuse_actors,
        ),
        run_config=tune.RunConfig(
            name="tune", storage_path=str(out / "ray"), callbacks=[mlflow, records], verbose=1
        ),
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.by_hand", description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder that `make demo-data` makes")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2, help="trials at once, a CPU each")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    parser.add_argument(
        "--norm-frames", type=int, default=0, help="measure batch norms again on so many frames"
    )
    parser.add_argument(
        "--reuse-actors", action="store_true", help="processes that run several trials"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
