"""Results files are written only when asked, and score exactly what was measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.scenes.batch import Detections
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.scoring.nuscenes_frames import score_detections
from sparsefront.scenes.scoring.tracker import TrackerSpec
from sparsefront.scenes.scoring.tracking_frames import score_tracking
from sparsefront.search.cli import score_files
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.evaluation.evaluate import evaluate
from sparsefront.search.evaluation.results import write_results
from sparsefront.search.trial.shared import dense_model, prepare

VERSION = "v1.0-procedural"
SPLIT = "procedural_val"


@pytest.fixture
def scenes(tiny_root: Path) -> NuScenesScenes:
    return NuScenesScenes(NuScenesSpec(root=str(tiny_root), version=VERSION, split=SPLIT))


@pytest.fixture
def found(scenes: NuScenesScenes) -> dict[str, Detections]:
    """Labels as detections, pushed a little, some dropped, scores with ties."""
    random = torch.Generator().manual_seed(0)
    detections = {}
    for token in scenes.tokens:
        frame = scenes.frame(token)
        boxes = torch.from_numpy(frame.boxes).float()
        boxes[:, :2] += torch.randn(len(boxes), 2, generator=random) * 0.3
        kept = torch.rand(len(boxes), generator=random) > 0.2
        sure = (torch.rand(len(boxes), generator=random) * 10).round() / 10
        labels = torch.from_numpy(frame.labels)
        detections[token] = Detections(
            boxes=boxes[kept].nan_to_num(), scores=sure[kept], labels=labels[kept]
        )
    return detections


def test_results_file_scores_what_was_measured(
    scenes: NuScenesScenes, found: dict[str, Detections], tiny_root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    write_results(path, scenes, found, frozenset({"camera", "lidar"}))
    meta = json.loads(path.read_text())["meta"]
    assert meta == {"use_camera": True, "use_lidar": True, "use_radar": False, "use_map": False,
                    "use_external": False}  # fmt: skip
    measured = score_detections(scenes, found)
    for scorer in ("ours", "devkit"):
        again = score_files.score_submission(str(tiny_root), VERSION, SPLIT, path, scorer)  # type: ignore[arg-type]
        assert again["mean_ap"] == pytest.approx(measured.mAP, abs=1e-12)
        assert again["nd_score"] == pytest.approx(measured.NDS, abs=1e-12)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.json"]


def test_tracking_file_scores_what_was_measured(
    scenes: NuScenesScenes, found: dict[str, Detections], tiny_root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tracks.json"
    write_results(path, scenes, found, frozenset({"lidar"}), TrackerSpec())
    measured = score_tracking(scenes, found, TrackerSpec())
    again: Any = score_files.score_tracking_submission(str(tiny_root), VERSION, SPLIT, path, "ours")
    assert again["amota"] == pytest.approx(measured.AMOTA, abs=1e-12)


def test_data_without_labels_give_results_and_no_metrics(
    tiny_root: Path, tiny_checkpoint: Path, sweep_data: dict[str, Any], tmp_path: Path,
    write_yaml: Any,
) -> None:  # fmt: skip
    """As a test set: told at once, unless only the results are wanted."""
    root = tmp_path / "test"
    shutil.copytree(tiny_root, root)
    for table in ("sample_annotation", "instance"):
        (root / VERSION / f"{table}.json").write_text("[]")
    spec = read_sweep(write_yaml(sweep_data)).trial
    model = dense_model(spec, prepare(spec))
    scenes = NuScenesScenes(NuScenesSpec(root=str(root), version=VERSION, split=SPLIT))
    with pytest.raises(InputError, match=r"has no labels to score against; allowed: .*--results"):
        evaluate(model, scenes, spec.image)
    for tracker, key in ((None, "detection_name"), (TrackerSpec(), "tracking_id")):
        path = tmp_path / f"{key}.json"
        assert evaluate(model, scenes, spec.image, results=path, tracker=tracker).metrics == {}
        results = json.loads(path.read_text())["results"]
        assert list(results) == scenes.tokens
        assert all(key in box for boxes in results.values() for box in boxes)
