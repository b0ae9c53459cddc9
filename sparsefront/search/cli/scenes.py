"""The verbs `sparsefront scenes ...`: data sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, subcommand

from sparsefront.errors import InputError
from sparsefront.search.cli.output import as_json, as_table


@dataclass(frozen=True, kw_only=True)
class ScenesMake:
    """Write a procedural data set in nuScenes or KITTI format."""

    root: Positional[Path]
    """Folder to write."""
    format: Literal["nuscenes", "kitti"] = "nuscenes"
    """Layout of the files and kind of the labels."""
    scenes: int | None = None
    """nuScenes: number of scenes, default 40; every fourth is for validation."""
    seed: int = 0
    """Same seed, same data."""
    frames: int | None = None
    """nuScenes: keyframes a scene, default 10. KITTI: frames in all, default 80; every fourth is
    for validation."""
    workers: int | None = None
    """Processes; default: one a CPU."""
    maps: bool = False
    """nuScenes: streets on the ground, and their map (maps/expansion)."""

    def run(self) -> str:
        from sparsefront.scenes.procedural import make_kitti, make_scenes

        for option in ("scenes", "frames", "workers"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise InputError(f"--{option}: value {value}; allowed: 1 and above")
        if self.format == "kitti":
            if self.maps:
                raise InputError("--maps: KITTI has no map; allowed with --format nuscenes")
            if self.scenes is not None:
                raise InputError("--scenes: KITTI has single frames; allowed: --frames")
            make_kitti(self.root, self.frames or 80, self.seed, workers=self.workers)
        else:
            make_scenes(
                self.root, num_scenes=self.scenes or 40, seed=self.seed, frames=self.frames or 10,
                workers=self.workers, street_map=self.maps,
            )  # fmt: skip
        return str(self.root)


@dataclass(frozen=True, kw_only=True)
class ScenesInfo:
    """Open one split of a data set and count what is in it."""

    root: Positional[str]
    """Data root."""
    version: str = "v1.0-mini"
    """Version of a nuScenes-format data set."""
    split: str | None = None
    """Split, predefined or of the root's splits.json; of KITTI train or val. Default: mini_train,
    of KITTI all frames."""
    format: Literal["nuscenes", "kitti"] = "nuscenes"
    """Format of the data set."""
    json: bool = False
    """One JSON document on stdout."""

    def run(self) -> str:
        from sparsefront.search.cli import measure

        split = self.split or (None if self.format == "kitti" else "mini_train")
        data = measure.data_spec(self.root, self.version, split, self.format)
        summary = measure.data_summary(data)
        return as_json(summary) if self.json else as_table(summary)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What the two nuScenes tasks ask for."""

    data: str
    """Data root."""
    version: str = "v1.0-mini"
    """Version of the data set."""
    split: str = "mini_val"
    """Split, predefined or of the root's splits.json."""
    results: Path
    """Results file (JSON)."""
    scorer: Literal["ours", "devkit"] = "ours"
    """Our own, or nuscenes-devkit itself (tracking: with motmetrics): the same numbers."""
    json: bool = False
    """One JSON document on stdout."""


@dataclass(frozen=True, kw_only=True)
class ScoreNuScenes(Submission):
    """nuScenes detection: a results file in the submission format."""

    def run(self) -> str:
        from sparsefront.search.cli import score_files

        answer = score_files.score_submission(
            self.data, self.version, self.split, self.results, self.scorer
        )
        return as_json(answer) if self.json else score_files.table(answer)


@dataclass(frozen=True, kw_only=True)
class ScoreTracking(Submission):
    """nuScenes tracking: a results file in the submission format."""

    def run(self) -> str:
        from sparsefront.search.cli import score_files

        answer = score_files.score_tracking_submission(
            self.data, self.version, self.split, self.results, self.scorer
        )
        return as_json(answer) if self.json else score_files.tracking_table(answer)


@dataclass(frozen=True, kw_only=True)
class ScoreKitti:
    """KITTI's object benchmark: one text file a frame."""

    gt: Path
    """Folder of label files."""
    det: Path
    """Folder of detection files, scores in the last column."""
    json: bool = False
    """One JSON document on stdout."""

    def run(self) -> str:
        from sparsefront.search.cli import score_files

        answer = score_files.score_kitti_files(self.gt, self.det)
        return as_json(answer) if self.json else score_files.kitti_table(answer)


@dataclass(frozen=True, kw_only=True)
class ScoreMap:
    """BEV map segmentation: predictions and targets in one file."""

    predictions: Path
    """File (.npz) with predictions and targets [samples, classes, x, y]."""
    json: bool = False
    """One JSON document on stdout."""

    def run(self) -> str:
        from sparsefront.search.cli import score_files

        answer = score_files.score_map_file(self.predictions)
        flat = {**answer["iou_max"], "miou": answer["miou"]}
        return as_json(answer) if self.json else as_table(flat)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Official metrics of results files."""

    verb: (
        Annotated[ScoreNuScenes, subcommand("nuscenes")]
        | Annotated[ScoreTracking, subcommand("tracking")]
        | Annotated[ScoreKitti, subcommand("kitti")]
        | Annotated[ScoreMap, subcommand("map")]
    )

    def run(self) -> str:
        return self.verb.run()


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Data sets."""

    verb: (
        Annotated[ScenesMake, subcommand("make")]
        | Annotated[ScenesInfo, subcommand("info")]
        | Annotated[Score, subcommand("score")]
    )

    def run(self) -> str:
        return self.verb.run()
