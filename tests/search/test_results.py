"""Results files are written only when asked, and score exactly what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from scenes.batch import Detections
from scenes.nuscenes import NuScenesScenes, NuScenesSpec
from scenes.scoring.nuscenes_frames import score_detections
from scenes.scoring.tracking_frames import score_tracking
from scenes.tracker import TrackerSpec
from search import scores
from search.results import write_results

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


def test_detections_round_trip(
    scenes: NuScenesScenes, found: dict[str, Detections], tiny_root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    write_results(path, scenes, found, frozenset({"camera", "lidar"}))
    meta = json.loads(path.read_text())["meta"]
    assert meta == {"use_camera": True, "use_lidar": True, "use_radar": False, "use_map": False,
                    "use_external": False}  # fmt: skip
    measured = score_detections(scenes, found)
    for scorer in ("ours", "devkit"):
        again = scores.of_submission(str(tiny_root), VERSION, SPLIT, path, scorer)  # type: ignore[arg-type]
        assert again["mean_ap"] == pytest.approx(measured.mAP, abs=1e-12)
        assert again["nd_score"] == pytest.approx(measured.NDS, abs=1e-12)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.json"]


def test_tracks_round_trip(
    scenes: NuScenesScenes, found: dict[str, Detections], tiny_root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tracks.json"
    write_results(path, scenes, found, frozenset({"lidar"}), TrackerSpec())
    measured = score_tracking(scenes, found, TrackerSpec())
    again: Any = scores.of_tracks(str(tiny_root), VERSION, SPLIT, path, "ours")
    assert again["amota"] == pytest.approx(measured.AMOTA, abs=1e-12)
