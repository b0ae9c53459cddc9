"""nuScenes-format data, real and synthetic: frames from a prepared sample store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.frame import Frame, OnBadSample
from sparsefront.scenes.geometry import Array
from sparsefront.scenes.keyframe import KeyframeReader
from sparsefront.scenes.loading.balance import draw_class_balanced
from sparsefront.scenes.nuscenes_root import data_root, open_tables, scene_names
from sparsefront.scenes.store.sample_store import open_store, require_same

if TYPE_CHECKING:
    from nuscenes import NuScenes


@dataclass(frozen=True, kw_only=True)
class NuScenesSpec:
    """Which frames of which data root.

    root          folder with samples/, sweeps/ and the version's tables; $VARIABLES are expanded
    version       folder of the tables: v1.0-mini, v1.0-trainval, v1.0-test, v1.0-procedural
    split         a split of nuscenes-devkit, one of the version folder's splits.json, or "all"
    num_sweeps    LiDAR sweeps besides the keyframe (published models: 9)
    num_frames    that many frames, evenly spaced; None: all
    radar_sweeps  sweeps of each radar, the keyframe among them (published: 6); None: no radar
    maps          targets of the map expansion (maps/expansion/*.json), for segmentation
    balance       "cbgs": training draws as many frames for each class (Zhu et al., 2019)
    """

    root: str
    version: str = "v1.0-mini"
    split: str = "mini_train"
    num_sweeps: int = 1
    num_frames: int | None = None
    radar_sweeps: int | None = None
    maps: bool = False
    balance: Literal["none", "cbgs"] = "none"

    def __post_init__(self) -> None:
        if self.num_sweeps < 0:
            raise InputError(f"num_sweeps: value {self.num_sweeps}; allowed: 0 and above")
        for name in ("num_frames", "radar_sweeps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: value {value}; allowed: 1 and above")


class NuScenesScenes:
    """Frames of one split. InputError, naming root, version or split, where there are none."""

    def __init__(self, spec: NuScenesSpec, on_bad_sample: OnBadSample = "raise") -> None:
        self.spec, self.on_bad_sample = spec, on_bad_sample
        self._open()
        every = [scene["name"] for scene in self.store.scenes]
        names = scene_names(self.root, spec.version, spec.split, every)
        scene = self.store.numbers("samples", "scene")
        wanted = np.array([name in names for name in every], dtype=bool)
        samples = np.flatnonzero(wanted[scene]) if len(scene) else np.zeros(0, int)
        if not len(samples):
            raise InputError(f"split: {spec.split!r} has no scene in {spec.root} {spec.version}")
        if spec.num_frames is not None and spec.num_frames < len(samples):
            places = np.linspace(0, len(samples) - 1, spec.num_frames).round().astype(int)
            samples = samples[places]
        self._choose(samples)

    def _open(self) -> None:
        spec = self.spec
        self.root = data_root(spec.root, spec.version)
        self.store = open_store(self.root, spec.version)
        self.reader = KeyframeReader(
            root=self.root, store=self.store, num_sweeps=spec.num_sweeps,
            radar_sweeps=spec.radar_sweeps, maps=spec.maps,
        )  # fmt: skip

    def _choose(self, samples: np.ndarray) -> None:
        self.samples = samples
        """Rows of the store's samples, in the order of `tokens`."""
        self.tokens = self.store.texts("samples", "token", samples)
        self._row = {token: int(row) for token, row in zip(self.tokens, samples, strict=True)}
        self.cache: dict[object, object] = {}
        self.decoded: dict[object, object] = {}
        self.skipped: dict[str, str] = {}
        """Frames that could not be read: token -> reason."""

    def without(self, tokens: Iterable[str]) -> NuScenesScenes:
        """The same split less some frames."""
        gone = set(tokens)
        kept = [i for i, token in enumerate(self.tokens) if token not in gone]
        found: NuScenesScenes = object.__new__(NuScenesScenes)
        found.spec, found.on_bad_sample = self.spec, self.on_bad_sample
        found.root, found.store, found.reader = self.root, self.store, self.reader
        found._choose(self.samples[kept])
        found.decoded = self.decoded
        return found

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: they map the store themselves and start with nothing kept."""
        kept = {"samples": np.asarray(self.samples), "store": self.store.folder.name}
        return {"spec": self.spec, "on_bad_sample": self.on_bad_sample, **kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.spec, self.on_bad_sample = state["spec"], state["on_bad_sample"]
        self._open()
        require_same(self.store, state["store"])
        self._choose(state["samples"])

    @property
    def labelled(self) -> bool:
        """Whether the data set has annotations; a test set has none."""
        return bool(self.store.tables["boxes"].num_rows)

    @cached_property
    def nusc(self) -> NuScenes:
        """The devkit's own tables, for its own scorers."""
        return open_tables(str(self.root), self.spec.version)

    def frame(self, token: str) -> Frame:
        """Read one keyframe from disk. BadSample naming a file that is missing or damaged."""
        return self.reader.frame(self._row[token])

    def lidar_to_globals(self) -> Array:
        """[frames, 4, 4] of all keyframes, without reading their sensors."""
        return self.reader.lidar_to_globals(self.samples)

    def lidar_to_global(self, token: str) -> Array:
        """4x4 of a keyframe, without reading its sensors."""
        out: Array = self.reader.lidar_to_globals(np.array([self._row[token]]))[0]
        return out

    def objects_folder(self, key: str) -> Path:
        """Where objects to paste are kept: with the store, and gone with its tables."""
        return self.store.folder.with_name(f"{self.store.folder.name}-objects-{key}")

    def training_frames(self, seed: int) -> np.ndarray:
        """Places in `tokens` that one epoch of training reads."""
        if self.spec.balance == "none":
            return np.arange(len(self.tokens))
        rows, frame = self.box_rows()
        label = self.store.numbers("boxes", "label")[rows]
        present = np.zeros((len(self.tokens), len(DETECTION_CLASSES)), dtype=bool)
        present[frame[label >= 0], label[label >= 0]] = True
        found = draw_class_balanced(present, np.random.default_rng([seed, 2]))
        if not len(found):
            raise InputError("balance: value 'cbgs' with no box in any frame; allowed: none")
        return found

    def label_counts(self) -> list[int]:
        """Boxes of each of DETECTION_CLASSES, without reading a sensor."""
        labels = self.store.numbers("boxes", "label")[self.box_rows()[0]]
        counts: list[int] = np.bincount(
            labels[labels >= 0], minlength=len(DETECTION_CLASSES)
        ).tolist()
        return counts

    def box_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the store's boxes for all frames in order, and the place of the frame of each."""
        first = self.store.numbers("samples", "first_box")[self.samples]
        count = self.store.numbers("samples", "num_boxes")[self.samples]
        frame = np.repeat(np.arange(len(count)), count)
        begin = np.repeat(first - (np.cumsum(count) - count), count)
        return begin + np.arange(len(frame)), frame
