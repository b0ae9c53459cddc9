"""The verbs `sparsefront scenes ...`: data sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, subcommand

from search.answers import as_json, as_table


@dataclass(frozen=True, kw_only=True)
class ScenesMake:
    """Write a procedural data set in nuScenes format."""

    root: Positional[Path]
    """Folder to write."""
    scenes: int = 40
    """Number of scenes; every fourth is for validation."""
    seed: int = 0
    """Same seed, same data."""
    frames: int = 10
    """Keyframes a scene."""
    workers: int | None = None
    """Processes; default: one a CPU."""

    def run(self) -> str:
        from scenes.procedural import make_scenes

        for option in ("scenes", "frames"):
            if getattr(self, option) < 1:
                value = getattr(self, option)
                raise ValueError(f"--{option}: value {value}; allowed: 1 and above")
        make_scenes(
            self.root, num_scenes=self.scenes, seed=self.seed, frames=self.frames,
            workers=self.workers,
        )  # fmt: skip
        return str(self.root)


@dataclass(frozen=True, kw_only=True)
class ScenesInfo:
    """Open one split of a nuScenes-format data set and count what is in it."""

    root: Positional[str]
    """Data root."""
    version: str = "v1.0-mini"
    """Version of the data set."""
    split: str = "mini_train"
    """Split, predefined or of the root's splits.json."""
    json: bool = False
    """One JSON document on stdout."""

    def run(self) -> str:
        from search import measure

        summary = measure.data_summary(measure.data_spec(self.root, self.version, self.split))
        return as_json(summary) if self.json else as_table(summary)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Official metrics of a results file in the submission format."""

    task: Positional[Literal["nuscenes"]]
    """nuscenes: detection."""
    data: str
    """Data root."""
    version: str = "v1.0-mini"
    """Version of the data set."""
    split: str = "mini_val"
    """Split, predefined or of the root's splits.json."""
    results: Path
    """Results file (JSON)."""
    scorer: Literal["ours", "devkit"] = "ours"
    """Our arrays, or nuscenes-devkit itself: the same numbers."""
    json: bool = False
    """One JSON document on stdout."""

    def run(self) -> str:
        from search import scores

        answer = scores.of_submission(
            self.data, self.version, self.split, self.results, self.scorer
        )
        return as_json(answer) if self.json else scores.table(answer)


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
