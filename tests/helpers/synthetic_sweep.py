"""Trials that nothing measured, with the few numbers that charts and fronts look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from sparsefront.files.atomic import write_json
from sparsefront.search.config.space import with_values
from sparsefront.search.config.strict_yaml import to_plain
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.config.trial_result import TrialEnd, TrialResult
from sparsefront.search.reports.sweep_view import SweepView, baselines_of
from sparsefront.search.runs.front import ParetoFront, pareto_front
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import StoredTrial

CAMERA, LIDAR = "allocation.per_modality.camera", "allocation.per_modality.lidar"
Point = tuple[float, float, float]
"""mAP, GFLOPs, NDS."""


def synthetic_result(
    mAP: float, GFLOPs: float, NDS: float = 0.5, seconds: float = 10.0
) -> TrialResult:
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


def stored_trial(trial_id: int, result: TrialResult) -> StoredTrial:
    """A finished trial that no folder has."""
    return StoredTrial(trial_id=trial_id, result=result, path=Path("none"))


def front_of_sweep(sweep: Sweep, name: str, trials: Sequence[StoredTrial]) -> ParetoFront:
    """Under the sweep's objectives and constraints."""
    return pareto_front(name, trials, sweep.objectives, sweep.constraints)


def synthetic_view(sweep: Sweep, points: Sequence[Point], name: str, **more: Any) -> SweepView:
    """Of finished trials; the searched values follow the cost. `more`: other fields of the view."""
    values: Mapping[int, dict[str, float]] = {
        n: {CAMERA: min(0.9, 1 - p[1] / 10), LIDAR: 0.1 * n} for n, p in enumerate(points)
    }
    trials = [stored_trial(n, synthetic_result(*p)) for n, p in enumerate(points)]
    given: dict[str, Any] = {
        "values": values,
        "ends": tuple(TrialEnd.finished(t.trial_id, t.result) for t in trials),
        "baselines": baselines_of(sweep, values, {}),
        **more,
    }
    return SweepView(front=front_of_sweep(sweep, name, trials), sweep=sweep, **given)


def write_synthetic_run(run: RunFolder, sweep: Sweep, points: Sequence[Point]) -> RunFolder:
    """A sweep's folder with finished trials, as a driver would have left it, but for tensors."""
    run.path.mkdir(parents=True)
    run.sweep_file.write_text(yaml.safe_dump(to_plain(asdict(sweep)), sort_keys=False))
    for number, point in enumerate(points):
        spec = with_values(sweep.trial, {CAMERA: 1 - point[1] / 10, LIDAR: 0.1 * number})
        folder = run.trial_dir(number)
        write_json(folder / "spec.json", spec.to_dict())
        write_json(folder / "result.json", synthetic_result(*point).to_dict())
    return run
