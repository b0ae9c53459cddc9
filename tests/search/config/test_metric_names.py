"""Every task is measured by its own metrics, and what cannot be measured is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.pruning.latency import LatencySpec
from sparsefront.scenes.kitti import KittiSpec
from sparsefront.scenes.nuscenes import NuScenesSpec
from sparsefront.scenes.scoring.tracker import TrackerSpec
from sparsefront.search.config.data import root_of, with_root
from sparsefront.search.config.metric_names import (
    COST,
    NEEDS,
    SKIPPED,
    SKIPPED_TRAINING,
    measured,
    quality,
)
from sparsefront.search.config.objectives import OBJECTIVES
from sparsefront.search.config.sweep_file import first_trial, read_sweep
from sparsefront.search.driver.checks import read_checked

NUSCENES, MAPS = NuScenesSpec(root="a"), NuScenesSpec(root="a", maps=True)
KITTI = KittiSpec(kitti_root="a")


def refused(data: dict[str, Any], write_yaml: Any) -> str:
    """The one line that a sweep file is refused with."""
    file = write_yaml(data)
    with pytest.raises(InputError) as caught:
        read_sweep(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: field ") and "\n" not in message
    return message.removeprefix(f"{file}: field ")


def test_metrics_of_each_task() -> None:
    assert quality(measured("detection", NUSCENES, None)) == ["mAP", "NDS"]
    assert quality(measured("map", MAPS, None)) == ["mIoU"]
    assert quality(measured("detection", KITTI, None)) == ["AP3D", "APBEV", "AP2D", "AOS"]
    tracked = measured("detection", NUSCENES, TrackerSpec())
    assert quality(tracked) == ["mAP", "NDS", "AMOTA", "AMOTP"]
    with pytest.raises(InputError, match="val: KITTI frames have no map"):
        measured("map", KITTI, None)
    with pytest.raises(InputError, match="tracker: the model predicts a map; allowed: null"):
        measured("map", MAPS, TrackerSpec())
    with pytest.raises(InputError, match="tracker: the model predicts boxes on KITTI"):
        measured("detection", KITTI, TrackerSpec())


def test_every_objective_is_measured_by_some_trial() -> None:
    always = {"GFLOPs", "nonzeros", "parameters", "bytes"}
    bounds_only = {SKIPPED, SKIPPED_TRAINING, "latency_ms_dense"}
    assert set(OBJECTIVES) == ({*NEEDS} - bounds_only) | always
    assert always <= set(COST)


@pytest.mark.parametrize(
    ("val", "said"),
    [
        ({"rot": "x"}, "trial.val.rot: unknown key (did you mean root?); allowed: root, version"),
        ({"kitti_rot": "x"}, "trial.val.kitti_rot: unknown key (did you mean kitti_root?)"),
        ({"root": "x", "splt": "y"}, "trial.val.splt: unknown key (did you mean split?)"),
        ({"kitti_root": "x", "frame": ["y"]}, "trial.val.frame: unknown key (did you mean frames"),
        ({"split": "y"}, "trial.val: value {'split': 'y'}; allowed: a mapping with root or with"),
        ({"root": 3}, "trial.val.root: value 3; allowed: a valid string"),
        ({"root": "x", "num_sweeps": -1}, "trial.val.num_sweeps: value -1; allowed: 0 and above"),
        ("x", "trial.val: value 'x'; allowed: a mapping of fields"),
    ],
)
def test_wrong_data_is_refused(
    sweep_data: dict[str, Any], write_yaml: Any, val: Any, said: str
) -> None:
    sweep_data["trial"]["val"] = val
    assert refused(sweep_data, write_yaml).startswith(said)


def test_nuscenes_and_kitti_data_are_read_and_moved(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    sweep_data["trial"]["val"] = {"kitti_root": "/data", "frames": ["000001"]}
    sweep_data["objectives"] = ["AP3D", "AOS", "GFLOPs"]
    spec = read_sweep(write_yaml(sweep_data)).trial
    assert spec.val == KittiSpec(kitti_root="/data", frames=("000001",))
    assert isinstance(spec.train, NuScenesSpec)
    assert root_of(with_root(spec.val, "/there")) == "/there"
    assert root_of(with_root(spec.train, "/there")) == "/there"


@pytest.mark.parametrize(
    ("trial", "requested", "said"),
    [
        ({}, "AMOTA", "'AMOTA' needs trial.tracker; this trial measures: mAP, NDS, GFLOPs, "),
        ({}, "mIoU", "'mIoU' needs a model that predicts a map; this trial measures: mAP, NDS"),
        ({"model": "map"}, "mAP", "'mAP' needs a model that detects boxes and nuScenes-format"),
        ({"val": {"kitti_root": "x"}}, "NDS", "'NDS' needs a model that detects boxes and"),
        ({}, "AOS", "'AOS' needs KITTI frames in trial.val; this trial measures: mAP"),
    ],
)
def test_objectives_that_a_trial_cannot_measure_are_refused(
    sweep_data: dict[str, Any], write_yaml: Any, trial: dict[str, Any], requested: str, said: str
) -> None:
    for name, value in trial.items():
        if name == "model":
            sweep_data["trial"]["model"]["task"] = value
            for part in ("train", "val"):
                sweep_data["trial"][part]["maps"] = True
        else:
            sweep_data["trial"][name] = value
    sweep_data["objectives"] = [requested, "GFLOPs"]
    assert refused(sweep_data, write_yaml).startswith(f"objectives: {said}")
    sweep_data["objectives"] = ["GFLOPs"]
    sweep_data["constraints"] = {requested: {"min": 0.1}}
    assert refused(sweep_data, write_yaml).startswith(f"constraints: {said}")


def test_unknown_constraint_is_refused(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    sweep_data["constraints"] = {"sparsty": {"min": 0.1}}
    line = refused(sweep_data, write_yaml)
    assert line.startswith("constraints: 'sparsty' is unknown (did you mean sparsity?)")


@pytest.mark.parametrize(
    ("tracker", "said"),
    [
        ({"max_age": -1}, "trial.tracker.max_age: value -1; allowed: 0 and above"),
        ({"max_ag": 1}, "trial.tracker.max_ag: unknown key (did you mean max_age?)"),
        ({"distance_m": {"cars": 2.0}}, "trial.tracker.distance_m: class 'cars' is unknown"),
        ({"name": "kalman"}, "trial.tracker.name: value 'kalman' is unknown"),
    ],
)
def test_wrong_tracker_is_refused(
    sweep_data: dict[str, Any], write_yaml: Any, tracker: dict[str, Any], said: str
) -> None:
    sweep_data["trial"]["tracker"] = tracker
    assert refused(sweep_data, write_yaml).startswith(said)


def test_map_model_on_kitti_is_refused(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    sweep_data["trial"]["model"]["task"] = "map"
    sweep_data["trial"]["val"] = {"kitti_root": "x"}
    assert refused(sweep_data, write_yaml).startswith("trial.val: KITTI frames have no map")


def test_choice_that_changes_the_task_is_refused(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    choices = ["detection", "map"]
    for part in ("train", "val"):
        sweep_data["trial"][part]["maps"] = True
    sweep_data["space"]["model.task"] = {"choices": choices}
    line = refused(sweep_data, write_yaml)
    assert "this trial with model.task 'map' measures: mIoU, GFLOPs" in line


def test_images_that_do_not_fit_are_refused(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    """Told when the file is checked, not by the first trial."""
    sweep_data["trial"]["image"] = {"height": 512, "width": 96}
    said = r"field trial.train: image.height: value 512; allowed: at most 54"
    with pytest.raises(InputError, match=said):
        read_checked(write_yaml(sweep_data))


def test_latency_is_measured_where_it_is_asked_for(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    """By an objective, a constraint or the trial's own field, and by nothing else."""
    assert read_sweep(write_yaml(sweep_data)).trial.latency is None
    requested = {**sweep_data, "objectives": ["mAP", "latency_ms"]}
    assert read_sweep(write_yaml(requested)).trial.latency == LatencySpec()
    bounded = {**sweep_data, "constraints": {"latency_ms": {"max": 20.0}}}
    sweep = read_sweep(write_yaml(bounded))
    assert sweep.trial.latency == LatencySpec()
    assert "latency_ms" in first_trial(sweep).measured()
    requested["trial"] = {**requested["trial"], "latency": {"repeats": 7}}
    assert read_sweep(write_yaml(requested)).trial.latency == LatencySpec(repeats=7)
    requested["trial"]["latency"] = {"repeats": 1}
    assert refused(requested, write_yaml).startswith(
        "trial.latency.repeats: value 1; allowed: 2 and"
    )
    requested["trial"]["latency"] = {}
    requested["space"]["latency"] = {"choices": [None, {"repeats": 3}]}
    line = refused(requested, write_yaml)
    assert line.startswith("objectives: 'latency_ms' needs trial.latency")
    assert "this trial with latency None measures" in line
