"""A damaged frame ends a trial by name, or is left out and counted where the sweep says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.scenes.frame import BadSample
from sparsefront.scenes.nuscenes import NuScenesScenes
from sparsefront.scenes.procedural import make_scenes
from sparsefront.search.config.objectives import Bound, violations
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.driver.checks import read_checked
from sparsefront.search.evaluation.evaluate import evaluate
from sparsefront.search.trial.run_trial import run_trial
from sparsefront.search.trial.shared import dense_model, prepare


@pytest.fixture
def damaged(sweep_data: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A sweep whose validation split has a cut LiDAR file in the first of its two frames."""
    root = tmp_path / "data"
    make_scenes(root, num_scenes=2, frames=2, workers=1, progress=False, val_every=2)
    for part in ("train", "val"):
        sweep_data["trial"][part]["root"] = str(root)
    path = sorted((root / "samples" / "LIDAR_TOP").glob("made-0-0001*"))[0]
    path.write_bytes(path.read_bytes()[:-7])
    return sweep_data


def test_damaged_frame_ends_the_trial_by_name(damaged: dict[str, Any], write_yaml: Any) -> None:
    with pytest.raises(BadSample, match=r"made-0-0001__LIDAR_TOP__000\.pcd\.bin: \d+ bytes"):
        run_trial(read_sweep(write_yaml(damaged)).trial)


def test_damaged_first_frame_is_named_by_the_check(
    damaged: dict[str, Any], write_yaml: Any
) -> None:
    with pytest.raises(InputError, match=r"field trial.val: .*made-0-0001__LIDAR_TOP__000"):
        read_checked(write_yaml(damaged))
    damaged["trial"]["on_bad_sample"] = "skip"
    read_checked(write_yaml(damaged))


def test_skipped_frames_are_left_out_and_counted(damaged: dict[str, Any], write_yaml: Any) -> None:
    """Scores are those of the frames that could be read; a constraint can limit the count."""
    damaged["trial"]["on_bad_sample"] = "skip"
    sweep = read_sweep(write_yaml(damaged))
    assert "skipped_samples" in sweep.trial.measured()
    result = run_trial(sweep.trial).result
    assert result.metrics["skipped_samples"] == 1
    assert result.metrics["skipped_training_samples"] == 0
    assert violations(result, {"skipped_samples": Bound(max=0)}) == {"skipped_samples<=0": 1}
    scenes = NuScenesScenes(sweep.trial.val, "skip")
    whole = NuScenesScenes(sweep.trial.val).without(scenes.tokens[:1])
    model = dense_model(sweep.trial, prepare(sweep.trial))
    left = evaluate(model, scenes, sweep.trial.image)
    assert left.metrics.pop("skipped_samples") == 1
    assert left == evaluate(model, whole, sweep.trial.image)


@pytest.mark.long
def test_loader_workers_count_and_score_the_same(damaged: dict[str, Any], write_yaml: Any) -> None:
    """Frames read ahead by processes of their own: the same metrics, bit for bit."""
    damaged["trial"]["on_bad_sample"] = "skip"
    here = run_trial(read_sweep(write_yaml(damaged)).trial).result
    damaged["trial"]["loader_workers"] = 1
    there = run_trial(read_sweep(write_yaml(damaged)).trial).result
    assert there.metrics == here.metrics
    assert there.losses == here.losses


def test_skipped_training_frames_are_counted_apart(
    damaged: dict[str, Any], write_yaml: Any
) -> None:
    """Also where both are the same frames."""
    damaged["trial"] |= {"on_bad_sample": "skip", "train": damaged["trial"]["val"]}
    damaged["trial"]["fine_tune"]["steps"] = 0
    result = run_trial(read_sweep(write_yaml(damaged)).trial).result
    assert result.metrics["skipped_samples"] == 1
    assert result.metrics["skipped_training_samples"] == 0


def test_no_readable_frame_ends_the_trial(damaged: dict[str, Any], write_yaml: Any) -> None:
    damaged["trial"]["on_bad_sample"] = "skip"
    spec = read_sweep(write_yaml(damaged)).trial
    for path in Path(spec.val.root, "samples", "LIDAR_TOP").glob("made-0-0001*"):
        path.unlink()
    with pytest.raises(InputError, match="val: none of 2 frames could be read"):
        run_trial(spec)
