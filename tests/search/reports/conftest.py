"""Sweeps of a handful of made trials, and their folders on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsefront.files.atomic import write_json
from sparsefront.search.config.space import with_values
from sparsefront.search.config.sweep_file import Sweep, read_sweep
from sparsefront.search.config.trial_result import TrialResult
from sparsefront.search.reports.sweep_view import Ended, SweepView, baselines_of
from sparsefront.search.runs.front import pareto_front
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import StoredTrial

CAMERA, LIDAR = "allocation.per_modality.camera", "allocation.per_modality.lidar"


def result(mAP: float, GFLOPs: float, NDS: float = 0.5, seconds: float = 10.0) -> TrialResult:
    """Of a dense model with 10 GFLOPs; two stages of the camera, one of the LiDAR."""
    metrics = {"mAP": mAP, "NDS": NDS, "GFLOPs": GFLOPs, "GMACs": GFLOPs / 2, "GMACs_dense": 5.0}
    layers = {
        "camera.backbone.a.weight": 0.5, "camera.backbone.b.weight": 1.0,
        "camera.neck.weight": 0.25, "lidar.encoder.weight": 0.75,
    }  # fmt: skip
    sizes = dict(zip(layers, (100, 300, 50, 10), strict=True))
    return TrialResult(
        metrics={**metrics, "sparsity": 1 - GFLOPs / 10},
        per_modality_sparsity={"camera": 1 - GFLOPs / 10, "lidar": 0.2},
        per_modality_GMACs={"camera": GFLOPs / 4, "lidar": GFLOPs / 4}, per_class={}, tp_errors={},
        per_layer_sparsity=layers, timings={"total_s": seconds, "cpu_s": seconds / 2},
        cost={"per_layer": {name: {"parameters": size} for name, size in sizes.items()}},
    )  # fmt: skip


@pytest.fixture
def sweep(sweep_data: dict[str, Any], write_yaml: Any) -> Sweep:
    sweep_data["objectives"] = ["mAP", "NDS", "GFLOPs"]
    sweep_data["sampler"], sweep_data["trials"] = "auto", 8
    sweep_data["space"] = {name: {"low": 0.0, "high": 0.9} for name in (CAMERA, LIDAR)}
    return read_sweep(write_yaml(sweep_data))


@pytest.fixture
def view_of(sweep: Sweep) -> Any:
    """A view of trials given as (mAP, GFLOPs, NDS); the searched values follow the cost."""

    def make(
        points: Sequence[tuple[float, float, float]],
        name: str = "made",
        of: Sweep | None = None,
        **more: Any,
    ) -> SweepView:
        own = of or sweep
        values = {
            n: {CAMERA: min(0.9, 1 - p[1] / 10), LIDAR: 0.1 * n} for n, p in enumerate(points)
        }
        trials = [
            StoredTrial(
                trial_id=n, spec=own.trial, asked=own.trial, result=result(*p), path=Path("none")
            )
            for n, p in enumerate(points)
        ]
        endings = tuple(
            Ended(trial_id=n, how="finished", seconds=10.0, cpu_s=5.0) for n in range(len(points))
        )
        given = {
            "values": values, "endings": endings, "baselines": baselines_of(own, values, {}), **more
        }  # fmt: skip
        return SweepView(front=pareto_front(own, name, trials), sweep=own, **given)

    return make


@pytest.fixture
def made(view_of: Any) -> SweepView:
    """Trial 2 is beaten by trial 1 in everything; trial 3 is on the front for its NDS alone."""
    return view_of(
        [(0.8, 9.0, 0.5), (0.7, 5.0, 0.5), (0.6, 6.0, 0.4), (0.5, 6.0, 0.7), (0.2, 1.0, 0.2),
         (0.55, 4.5, 0.3), (0.1, 0.9, 0.1)]
    )  # fmt: skip


@pytest.fixture
def stored_sweep(sweep: Sweep, tmp_path: Path) -> Any:
    """Writes a sweep's folder with finished trials, as a driver would have left it."""

    def write(
        name: str, points: Sequence[tuple[float, float, float]], of: Sweep | None = None
    ) -> RunFolder:
        from dataclasses import asdict

        from sparsefront.search.config.strict_yaml import plain

        own = of or sweep
        run = RunFolder(runs=tmp_path / "runs", name=name)
        run.path.mkdir(parents=True)
        run.sweep_file.write_text(yaml.safe_dump(plain(asdict(own)), sort_keys=False))
        for number, point in enumerate(points):
            spec = with_values(own.trial, {CAMERA: 1 - point[1] / 10, LIDAR: 0.1 * number})
            folder = run.trial_dir(number)
            write_json(folder / "spec.json", spec.to_dict())
            write_json(folder / "result.json", result(*point).to_dict())
        return run

    return write
