"""From the JSON tables of a nuScenes-format data set to the columns of a SampleStore."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from nuscenes.eval.detection.utils import category_to_detection_name
from rich.console import Console
from rich.progress import Progress

from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.store.json_table import NONE, TABLES, JsonTable

MAX_TIME_S = 1.5
"""Annotations further apart in time give no velocity (twice that over two steps)."""


def write_store(root: Path, version: str, folder: Path) -> None:
    """Writes samples, data, calibrated, boxes and instances (.arrow) and store.json to a folder.

    InputError naming table, record and field where the tables do not fit together.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"preparing {root.name} {version}", total=len(TABLES))
        _Writer(root / version, folder, lambda: bar.advance(task)).write()


class _Writer:
    """What the parts share: where tables are, and the samples."""

    def __init__(self, tables: Path, folder: Path, advance: Callable[[], None]) -> None:
        self.tables, self.folder, self.advance = tables, folder, advance

    def write(self) -> None:
        scenes = self._samples()
        channels = self._data()
        categories, attributes = self._boxes()
        self._save("samples", self.samples)
        about = {
            "channels": channels, "categories": categories, "attributes": attributes,
            "scenes": scenes,
        }  # fmt: skip
        (self.folder / "store.json").write_text(json.dumps(about))

    def _read(self, name: str) -> JsonTable:
        table = JsonTable.read(self.tables / f"{name}.json")
        self.advance()
        return table

    def _samples(self) -> list[dict[str, str]]:
        """Samples of each scene in time order; returns the scenes."""
        logs, scenes, samples = self._read("log"), self._read("scene"), self._read("sample")
        row_of = samples.row_by_token()
        following = samples.links("next", row_of, optional=True)
        rows: list[int] = []
        number: list[int] = []
        seen = np.zeros(len(samples), bool)
        for at, row in enumerate(scenes.links("first_sample_token", row_of)):
            while row != NONE:
                if seen[row]:
                    raise samples.error_in(row, "token", "each sample once in one scene")
                seen[row] = True
                rows.append(row)
                number.append(at)
                row = following[row]
        ordered = samples.select(rows)
        self.known, self.sample = row_of, ordered.row_by_token()
        self.stamps = ordered.integers("timestamp")
        self.samples: dict[str, Any] = {
            "token": list(self.sample), "timestamp": self.stamps,
            "scene": np.array(number, np.int32),
        }  # fmt: skip
        locations = logs.strings("location")
        log = scenes.links("log_token", logs.row_by_token())
        return [
            {"name": name, "token": token, "location": locations[row]}
            for name, token, row in zip(
                scenes.strings("name"), scenes.strings("token"), log, strict=True
            )
        ]

    def _data(self) -> list[str]:
        """Files that frames are made of; returns the channels."""
        sensors, calibrated = self._read("sensor"), self._read("calibrated_sensor")
        channels = sorted(set(sensors.strings("channel")))
        of_sensor = np.array([channels.index(c) for c in sensors.strings("channel")], np.int32)
        channel = of_sensor[calibrated.links("sensor_token", sensors.row_by_token())]
        self._save("calibrated", {
            "translation": calibrated.vectors("translation", 3),
            "rotation": calibrated.vectors("rotation", 4),
            "intrinsic": calibrated.matrices("camera_intrinsic", 9),
        })  # fmt: skip
        files = self._read("sample_data")
        sensor = files.links("calibrated_sensor_token", calibrated.row_by_token())
        is_key = np.array(files.column("is_key_frame", bool), bool)
        is_image = np.array([name.startswith("CAM") for name in channels], bool)
        kept = np.flatnonzero(is_key | ~is_image[channel[sensor]])
        files, sensor, is_key = files.select(kept), sensor[kept], is_key[kept]
        self._files(files, sensor)
        key = np.full((len(self.sample), len(channels)), NONE, np.int32)
        tokens = files.strings("sample_token")
        for at in np.flatnonzero(is_key):
            if tokens[at] not in self.known:
                raise files.error_in(at, "sample_token", "a token of its table")
            if tokens[at] in self.sample:  # else of no scene
                key[self.sample[tokens[at]], channel[sensor[at]]] = at
        self.samples["data"] = key
        return channels

    def _files(self, files: JsonTable, sensor: np.ndarray) -> None:
        poses = self._read("ego_pose")
        poses = poses.select(files.links("ego_pose_token", poses.row_by_token()))
        row_of, before = files.row_by_token(), files.column("prev", str, type(None))
        self._save("data", {
            "path": files.strings("filename"), "calibrated": sensor,
            "timestamp": files.integers("timestamp"),
            "ego_translation": poses.vectors("translation", 3),
            "ego_rotation": poses.vectors("rotation", 4),
            # that of an image is no keyframe, and left out
            "prev": np.array([row_of.get(token, NONE) for token in before], np.int32),
            "width": files.integers("width", optional=True).astype(np.int32),
            "height": files.integers("height", optional=True).astype(np.int32),
        })  # fmt: skip

    def _boxes(self) -> tuple[list[str], list[str]]:
        """Annotations by sample; returns the names of categories and attributes."""
        categories, attributes = self._read("category"), self._read("attribute")
        names = [category_to_detection_name(name) for name in categories.strings("name")]
        labels = np.array([NONE if n is None else DETECTION_CLASSES.index(n) for n in names], int)
        instances = self._read("instance")
        self._save("instances", {"token": instances.strings("token")})
        boxes = self._read("sample_annotation")
        order = np.argsort(boxes.links("sample_token", self.sample), kind="stable")
        boxes = boxes.select(order)
        sample = boxes.links("sample_token", self.sample)
        count = np.bincount(sample, minlength=len(self.sample))
        self.samples["num_boxes"] = count.astype(np.int32)
        self.samples["first_box"] = np.cumsum(count) - count
        instance = boxes.links("instance_token", instances.row_by_token())
        category = instances.links("category_token", categories.row_by_token())[instance]
        center, row_of = boxes.vectors("translation", 3), boxes.row_by_token()
        before = boxes.links("prev", row_of, optional=True)
        after = boxes.links("next", row_of, optional=True)
        own = boxes.column("attribute_tokens", list)
        self._save("boxes", {
            "token": boxes.strings("token"), "sample": sample, "instance": instance,
            "category": category, "label": labels[category].astype(np.int32),
            "attribute": boxes.first_links("attribute_tokens", attributes.row_by_token()),
            "num_attributes": np.array([len(t) for t in own], np.int32), "center": center,
            "size": boxes.vectors("size", 3), "rotation": boxes.vectors("rotation", 4),
            "velocity": velocities(center, self.stamps[sample], before, after),
            "num_lidar_pts": boxes.integers("num_lidar_pts").astype(np.int32),
            "num_radar_pts": boxes.integers("num_radar_pts").astype(np.int32),
        })  # fmt: skip
        return categories.strings("name"), attributes.strings("name")

    def _save(self, name: str, columns: dict[str, Any]) -> None:
        table = pa.table({key: _column(values) for key, values in columns.items()})
        with (
            pa.OSFile(str(self.folder / f"{name}.arrow"), "wb") as file,
            pa.ipc.new_file(file, table.schema) as writer,
        ):
            writer.write_table(table)  # one batch: its columns can be mapped as they are


def velocities(
    center: np.ndarray, stamps: np.ndarray, before: np.ndarray, after: np.ndarray
) -> np.ndarray:
    """[N, 3] m/s of boxes at center [N, 3] and time [N] (us): from the annotation before to the one
    after, or from or to itself at an end; NaN for a lone one or over too long a time.
    """
    every = np.arange(len(center))
    first, last = np.where(before < 0, every, before), np.where(after < 0, every, after)
    elapsed = 1e-6 * stamps[last] - 1e-6 * stamps[first]
    both = (before >= 0) & (after >= 0)
    known = (first != last) & (elapsed <= np.where(both, 2 * MAX_TIME_S, MAX_TIME_S))
    moved = center[last] - center[first]
    out = np.full((len(center), 3), np.nan)
    out[known] = moved[known] / elapsed[known, None]
    return out


def _column(values: np.ndarray | Iterable[str]) -> pa.Array:
    if not isinstance(values, np.ndarray):
        return pa.array(values, pa.string())
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
