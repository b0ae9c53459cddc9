"""Sweeps of the tiny model, of maps, and of trials that nothing measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsefront.files.atomic import write_json
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.sweep_file import Sweep, read_sweep
from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.reports.sweep_view import SweepView
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_writer import write_end, write_trial
from sparsefront.search.training.train import TrainSpec, train
from sparsefront.search.trial.run_trial import run_trial
from tests.helpers.synthetic_sweep import (
    CAMERA,
    LIDAR,
    Point,
    synthetic_view,
    write_synthetic_run,
)
from tests.helpers.tiny_sweep import tiny_sweep

TINY_MAPS = {"task": "map", "map_channels": 4}


@pytest.fixture(scope="session")
def exported_run(
    tiny_root: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """A sweep `one` with trial 0 finished, trial 1 failed and trial 2 stopped; only to be read."""
    run = RunFolder(runs=tmp_path_factory.mktemp("exported"), name="one")
    run.path.mkdir()
    run.sweep_file.write_text(yaml.safe_dump(tiny_sweep(tiny_root, tiny_checkpoint)))
    write_json(
        run.launch_file,
        {
            "run_id": "x", "address": None, "code": {"commit": "0" * 40, "dirty": True},
            "tracking_uri": f"sqlite:///{run.runs / 'mlflow.db'}",
        },
    )  # fmt: skip
    spec = read_sweep(run.sweep_file).trial
    write_trial(run, 0, run_trial(spec))
    write_end(run, TrialEnd.failed(1, "ValueError: nothing left"), spec)
    write_end(run, TrialEnd.stopped(2, "dominated", costs={}), spec)
    return run


@pytest.fixture(scope="session")
def map_checkpoint(
    tiny_model: dict[str, Any], street_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tiny model for maps, trained until its mIoU depends on what is pruned."""
    path = tmp_path_factory.mktemp("checkpoints") / "map.safetensors"
    spec = {
        "model": tiny_model | TINY_MAPS,
        "data": map_frames(street_root, "train"),
        "image": {"height": 32, "width": 64},
        "steps": 100, "batch_size": 2, "lr": 0.01, "threads": 1, "seed": 0,
    }  # fmt: skip
    train(strict_yaml.from_data(spec, TrainSpec, "tests"), path, lambda line: None)
    return path


@pytest.fixture
def map_sweep(
    sweep_data: dict[str, Any], street_root: Path, map_checkpoint: Path
) -> dict[str, Any]:
    """A sweep of that model."""
    trial = sweep_data["trial"]
    trial["model"] |= TINY_MAPS
    trial["checkpoint"] = str(map_checkpoint)
    trial |= {part: map_frames(street_root, part) for part in ("train", "val")}
    sweep_data["objectives"] = ["mIoU", "GFLOPs", "nonzeros"]
    return sweep_data


def map_frames(root: Path, part: str) -> dict[str, Any]:
    frames = {"root": str(root), "version": "v1.0-procedural", "maps": True}
    return {**frames, "split": f"procedural_{part}"}


@pytest.fixture
def sweep(sweep_data: dict[str, Any], write_yaml: Any) -> Sweep:
    """Of 8 trials over two sparsities, with two qualities and a cost."""
    sweep_data["objectives"] = ["mAP", "NDS", "GFLOPs"]
    sweep_data["sampler"], sweep_data["trials"] = "auto", 8
    sweep_data["space"] = {name: {"low": 0.0, "high": 0.9} for name in (CAMERA, LIDAR)}
    return read_sweep(write_yaml(sweep_data))


@pytest.fixture
def view_of(sweep: Sweep) -> Any:
    """A view of trials given as (mAP, GFLOPs, NDS)."""

    def view_of(
        points: Sequence[Point], name: str = "synthetic", of: Sweep | None = None, **more: Any
    ) -> SweepView:
        return synthetic_view(of or sweep, points, name, **more)

    return view_of


@pytest.fixture
def view(view_of: Any) -> SweepView:
    """Trial 2 is beaten by trial 1 in everything; trial 3 is on the front for its NDS alone."""
    found: SweepView = view_of(
        [(0.8, 9.0, 0.5), (0.7, 5.0, 0.5), (0.6, 6.0, 0.4), (0.5, 6.0, 0.7), (0.2, 1.0, 0.2),
         (0.55, 4.5, 0.3), (0.1, 0.9, 0.1)]
    )  # fmt: skip
    return found


@pytest.fixture
def stored_sweep(sweep: Sweep, tmp_path: Path) -> Any:
    """Writes a sweep's folder with finished trials, as a driver would have left it."""

    def write(name: str, points: Sequence[Point], of: Sweep | None = None) -> RunFolder:
        return write_synthetic_run(
            RunFolder(runs=tmp_path / "runs", name=name), of or sweep, points
        )

    return write
