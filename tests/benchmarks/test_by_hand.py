"""The search written by hand measures what a trial measures, so that the two can be compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.by_hand.evaluation import NO_BOX, devkit_score, frame_results, write_results
from benchmarks.by_hand.task import MODALITIES, Task, cost_profile, demo_task, opened
from benchmarks.by_hand.training import prunable_layers
from benchmarks.by_hand.trial import run
from sparsefront.models import BEVFusionSmall, build
from sparsefront.models.checkpoint import store
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.weights import prunable_weights
from sparsefront.scenes.batch import Detections
from sparsefront.scenes.loader import Loader
from sparsefront.scenes.scoring.nuscenes_frames import score_detections
from sparsefront.search.config.space import with_values
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.trial.run_trial import run_trial
from tests.helpers import paths

ROOT = paths.CHECKOUT
SPARSITY = {"camera": 0.5, "lidar": 0.3, "fusion": 0.0}


@pytest.fixture
def spec(sweep_data: dict[str, Any], write_yaml: Any) -> TrialSpec:
    """What one writes by hand: a cut and plain steps."""
    plain = {"norm_frames": 0, "repair": {"method": "none"}}
    plain |= {"fine_tune.sparsity_power": 0.0, "fine_tune.distill_features": 0.0}
    spec = with_values(read_sweep(write_yaml(sweep_data)).trial, plain)
    return replace(spec, allocation=SparsityAllocation(per_modality=SPARSITY, min_keep=0))


def task_of(spec: TrialSpec) -> Task:
    """The same model, frames and fine-tuning."""
    tune = spec.fine_tune
    return Task(
        model=spec.model, train=spec.train, val=spec.val, image=spec.image, steps=tune.steps,
        batch_size=tune.batch_size, lr=tune.lr, warmup=tune.warmup, clip=tune.clip,
        weight_decay=tune.weight_decay, cost_frames=spec.cost_frames, seed=spec.seed,
        threads=spec.threads,
    )  # fmt: skip


def test_task_is_that_of_the_demo() -> None:
    sweep = read_sweep(ROOT / "examples/demo.yaml")
    root = sweep.trial.train.root
    assert demo_task(root) == task_of(sweep.trial)
    assert set(sweep.space) - {"criterion"} == {
        f"allocation.per_modality.{modality}" for modality in MODALITIES
    }


def test_our_sweep_has_the_same_task() -> None:
    """What it is compared with differs in who proposes, one at a time, and in the precision."""
    demo = read_sweep(ROOT / "examples/demo.yaml")
    ours = read_sweep(ROOT / "benchmarks/by_hand/sparsefront.yaml")
    assert task_of(ours.trial) == task_of(demo.trial)
    assert (ours.space, ours.objectives) == (demo.space, demo.objectives)
    assert ours.trial.criterion == demo.trial.criterion
    assert (ours.trial.fine_tune.precision, ours.workers) == ("bfloat16", 1)


def test_same_weights_are_prunable() -> None:
    model = build(BEVFusionSmall())
    mine = {id(layer.weight) for m in MODALITIES for layer in prunable_layers(model, m)}
    assert mine == {id(weight) for weight in prunable_weights(model).values()}


def test_trial_by_hand_measures_what_ours_does(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps of fine-tuning under the masks give the same weights, cost and scores, where sums
    run in the same order.
    """
    for user in ("sparsefront.search.training.fine_tune", "sparsefront.search.evaluation.evaluate"):
        monkeypatch.setattr(f"{user}.channels_last", lambda model: None)
    ours = run_trial(spec)
    task, state = task_of(spec), store.load(spec.checkpoint)[0]
    metrics, laps = run(SPARSITY, state, task, cost_profile(task, state), tmp_path)

    weights = torch.load(tmp_path / "weights.pt")
    mask = ours.weights.mask
    assert weights.keys() == ours.weights.state.keys()
    for name, weight in ours.weights.state.items():
        torch.testing.assert_close(weights[name], weight, msg=name)
        if name in mask:
            assert not weights[name][~mask[name]].any(), name
    for name in ("mAP", "NDS"):
        assert metrics[name] == pytest.approx(ours.result.metrics[name], abs=1e-9)
    for name in ("GFLOPs", "GMACs_dense", "nonzeros"):
        assert metrics[name] == ours.result.metrics[name]
    assert sum(laps.cpu.values()) == laps.report()["total_cpu_s"]


def test_scores_by_hand_are_ours(spec: TrialSpec, tmp_path: Path) -> None:
    """Labels moved at random, as the model would predict them, through the results file."""
    task, random = task_of(spec), np.random.default_rng(0)
    data = opened(task)
    detections, rows = {}, {}
    for batch in Loader(data.val, task.image, None, batch_size=1, shuffle=False, seed=0):
        token, target = batch.tokens[0], batch.targets[0]
        boxes = target.boxes.nan_to_num()
        boxes += torch.tensor(random.normal(scale=0.3, size=boxes.shape)).float()
        boxes[:, 3:6] = boxes[:, 3:6].abs()  # sizes
        found = Detections(
            boxes=boxes, labels=target.labels,
            scores=torch.tensor(random.random(len(boxes))).float(),
        )  # fmt: skip
        detections[token] = found
        rows[token] = frame_results(token, found, batch.lidar_to_global[0].numpy())
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"meta": {}, "results": rows}))
    theirs, ours = devkit_score(path, data, task), score_detections(data.val, detections)
    assert ours.mAP > 0.05
    assert theirs["mAP"] == pytest.approx(ours.mAP, abs=1e-9)
    assert theirs["NDS"] == pytest.approx(ours.NDS, abs=1e-9)


def test_scores_without_any_box_are_known(spec: TrialSpec) -> None:
    scenes = opened(task_of(spec)).val
    none = Detections(boxes=torch.zeros(0, 9), scores=torch.zeros(0), labels=torch.zeros(0).long())
    ours = score_detections(scenes, dict.fromkeys(scenes.tokens, none))
    assert {"mAP": ours.mAP, "NDS": ours.NDS} == NO_BOX


def test_results_have_every_frame(spec: TrialSpec, tmp_path: Path) -> None:
    task = task_of(spec)
    count = write_results(build(task.model), opened(task), task, tmp_path / "results.json")
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert set(results) == set(opened(task).val.tokens)
    assert sum(map(len, results.values())) == count


@pytest.mark.long
def test_search_by_hand_runs_on_ray(tiny_root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.by_hand", str(tiny_root)]
    options = ["--trials", "2", "--workers", "1", "--reuse-actors", "--out", str(tmp_path / "out")]
    quick = {**os.environ, "RAY_worker_niceness": "0"}  # 15 starves beside other work
    done = subprocess.run([*command, *options], cwd=ROOT, env=quick, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(s) for s in (tmp_path / "out/records.jsonl").read_text().splitlines()]
    about, first, second, driver = lines
    assert about["machine"]["cores"] >= 1
    assert driver["driver"]["cpu_s"] > 0
    for line in (first, second):
        assert set(line["values"]) == set(MODALITIES)
        assert 0 < line["metrics"]["GFLOPs"] < 2 * line["metrics"]["GMACs_dense"]
    assert first["seconds"]["startup_cpu_s"] > 1
    assert first["pid"] == second["pid"]
    assert second["seconds"]["startup_cpu_s"] < 1
