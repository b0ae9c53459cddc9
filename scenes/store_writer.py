"""From the JSON tables of a nuScenes-format data set to the columns of a SampleStore."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from nuscenes.eval.detection.utils import category_to_detection_name
from rich.console import Console
from rich.progress import Progress

from scenes.batch import DETECTION_CLASSES
from scenes.sample_store import NONE, TABLES
from scenes.table_fields import Row, read_table

MOST = 2**31 - 1
MAX_TIME_S = 1.5
"""Annotations further apart in time give no velocity (twice that over two steps)."""


def write_store(root: Path, version: str, folder: Path) -> None:
    """Writes samples, data, calibrated, boxes and instances (.arrow) and store.json to a folder.

    ValueError naming table, record and field where the tables do not fit together.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"preparing {root.name} {version}", total=len(TABLES))
        _Writer(root / version, folder, lambda: bar.advance(task)).write()


class _Writer:
    """What the parts share: where tables are, and the row of each token."""

    def __init__(self, tables: Path, folder: Path, advance: Callable[[], None]) -> None:
        self.tables, self.folder, self.advance = tables, folder, advance

    def write(self) -> None:
        scenes = self._scenes()
        self._samples(scenes)
        channels = self._data()
        categories, attributes = self._boxes()
        self._save("samples", self.samples)
        about = {
            "channels": channels, "categories": categories, "attributes": attributes,
            "scenes": [{k: s[k] for k in ("name", "token", "location")} for s in scenes],
        }  # fmt: skip
        (self.folder / "store.json").write_text(json.dumps(about))

    def _read(self, name: str) -> list[Row]:
        rows = read_table(self.tables / f"{name}.json")
        self.advance()
        return rows

    def _link(self, rows: Sequence[Row], table: str, field: str, to: dict[str, int]) -> np.ndarray:
        """Row of another table that `field` names; NONE for "" where there may be none."""
        found = np.full(len(rows), NONE, np.int32)
        for at, row in enumerate(rows):
            token = row[field]
            if token or field not in ("prev", "next"):
                if token not in to:
                    raise ValueError(self._said(table, row, field, token, "a token of its table"))
                found[at] = to[token]
        return found

    def _said(self, table: str, row: Row, field: str, value: object, allowed: str) -> str:
        file = self.tables / f"{table}.json"
        return f"{file}: record {row.get('token')}: {field}: value {value!r}; allowed: {allowed}"

    def _vectors(self, rows: Sequence[Row], table: str, field: str, width: int) -> np.ndarray:
        found = np.empty((len(rows), width))
        for at, row in enumerate(rows):
            values = row[field]
            if len(values) != width or not {*map(type, values)} <= {float, int}:
                raise ValueError(self._said(table, row, field, values, f"{width} numbers"))
            found[at] = values
        if not np.isfinite(found).all():
            bad = rows[int(np.flatnonzero(~np.isfinite(found).all(1))[0])]
            raise ValueError(self._said(table, bad, field, bad[field], "finite numbers"))
        return found

    def _counts(self, rows: Sequence[Row], table: str, field: str) -> np.ndarray:
        for row in rows:
            if type(row[field]) is not int or not 0 <= row[field] <= MOST:
                raise ValueError(self._said(table, row, field, row[field], f"0 to {MOST}"))
        return np.array([row[field] for row in rows], np.int32)

    def _intrinsics(self, rows: Sequence[Row]) -> np.ndarray:
        """[N, 9], 0 for sensors that are no cameras."""
        table, field = "calibrated_sensor", "camera_intrinsic"
        flat = []
        for row in rows:
            lines = row[field] or [[0.0] * 3] * 3
            if [len(n) if isinstance(n, list) else 0 for n in lines] != [3, 3, 3]:
                raise ValueError(self._said(table, row, field, row[field], "3 x 3 numbers, or []"))
            flat.append({**row, field: [n for line in lines for n in line]})
        return self._vectors(flat, table, field, 9)

    def _scenes(self) -> list[Row]:
        location = {row["token"]: row["location"] for row in self._read("log")}
        scenes = self._read("scene")
        for row in scenes:
            row["location"] = location.get(row["log_token"], "")
        return scenes

    def _samples(self, scenes: list[Row]) -> None:
        """Samples of each scene in time order; self.sample gives the row of a token."""
        rows = self._read("sample")
        by_token = {row["token"]: row for row in rows}
        ordered: list[Row] = []
        number = []
        for at, scene in enumerate(scenes):
            token = scene["first_sample_token"]
            while token:
                if token not in by_token:
                    raise ValueError(
                        self._said("scene", scene, "samples", token, "tokens of sample.json")
                    )
                row = by_token[token]
                ordered.append(row)
                number.append(at)
                if len(ordered) > len(rows):
                    raise ValueError(self._said("sample", row, "next", row["next"], "a later one"))
                token = row["next"]
        self.sample = {row["token"]: at for at, row in enumerate(ordered)}
        self.stamps = np.array([row["timestamp"] for row in ordered], np.int64)
        self.samples: dict[str, Any] = {
            "token": [row["token"] for row in ordered], "timestamp": self.stamps,
            "scene": np.array(number, np.int32),
        }  # fmt: skip

    def _data(self) -> list[str]:
        """Files that frames are made of; returns the channels."""
        sensors = self._read("sensor")
        channels = sorted({row["channel"] for row in sensors})
        channel_of = {row["token"]: channels.index(row["channel"]) for row in sensors}
        calibrated = self._read("calibrated_sensor")
        number = {row["token"]: at for at, row in enumerate(calibrated)}
        channel = self._link(calibrated, "calibrated_sensor", "sensor_token", channel_of)
        self._save("calibrated", {
            "translation": self._vectors(calibrated, "calibrated_sensor", "translation", 3),
            "rotation": self._vectors(calibrated, "calibrated_sensor", "rotation", 4),
            "intrinsic": self._intrinsics(calibrated),
        })  # fmt: skip
        images = {at for at, name in enumerate(channels) if name.startswith("CAM")}
        rows = []
        for row in self._read("sample_data"):
            sensor = number.get(row["calibrated_sensor_token"])
            if sensor is None:
                field = "calibrated_sensor_token"
                raise ValueError(self._said("sample_data", row, field, row[field], "a sensor"))
            if row["is_key_frame"] or int(channel[sensor]) not in images:
                rows.append(row)
        self._files(rows, self._link(rows, "sample_data", "calibrated_sensor_token", number))
        of_row = channel[np.array([number[r["calibrated_sensor_token"]] for r in rows], int)]
        key = np.full((len(self.sample), len(channels)), NONE, np.int32)
        for at, (row, mine) in enumerate(zip(rows, of_row, strict=True)):
            if row["is_key_frame"] and row["sample_token"] in self.sample:
                key[self.sample[row["sample_token"]], mine] = at
        self.samples["data"] = key
        return channels

    def _files(self, rows: list[Row], calibrated: np.ndarray) -> None:
        places = {row["token"]: at for at, row in enumerate(rows)}
        wanted = {row["ego_pose_token"] for row in rows}
        poses = {p["token"]: p for p in self._read("ego_pose") if p["token"] in wanted}
        missing = next((r for r in rows if r["ego_pose_token"] not in poses), None)
        if missing is not None:
            field = "ego_pose_token"
            raise ValueError(self._said("sample_data", missing, field, missing[field], "a pose"))
        ego = [poses[row["ego_pose_token"]] for row in rows]
        self._save("data", {
            "path": [row["filename"] for row in rows], "calibrated": calibrated,
            "timestamp": np.array([row["timestamp"] for row in rows], np.int64),
            "ego_translation": self._vectors(ego, "ego_pose", "translation", 3),
            "ego_rotation": self._vectors(ego, "ego_pose", "rotation", 4),
            "prev": np.array([places.get(row["prev"], NONE) for row in rows], np.int32),
            **{side: self._counts(self._sides(rows, side), "sample_data", side)
               for side in ("width", "height")},
        })  # fmt: skip

    def _sides(self, rows: list[Row], side: str) -> list[Row]:
        """Sides of images, 0 for other files and where the table does not say."""
        return [{"token": row["token"], side: row.get(side) or 0} for row in rows]

    def _boxes(self) -> tuple[list[str], list[str]]:
        """Annotations by sample; returns the names of categories and attributes."""
        categories, attributes = self._read("category"), self._read("attribute")
        of_category = {row["token"]: at for at, row in enumerate(categories)}
        names = [category_to_detection_name(row["name"]) for row in categories]
        labels = np.array([NONE if n is None else DETECTION_CLASSES.index(n) for n in names], int)
        attribute = {row["token"]: at for at, row in enumerate(attributes)}
        instances = self._read("instance")
        of_instance = {row["token"]: at for at, row in enumerate(instances)}
        category = self._link(instances, "instance", "category_token", of_category)
        self._save("instances", {"token": [row["token"] for row in instances]})
        table = "sample_annotation"
        rows = self._read(table)
        sample = self._link(rows, table, "sample_token", self.sample)
        order = np.argsort(sample, kind="stable")
        rows, sample = [rows[i] for i in order], sample[order]
        count = np.bincount(sample, minlength=len(self.sample))
        self.samples["num_boxes"] = count.astype(np.int32)
        self.samples["first_box"] = np.cumsum(count) - count
        instance = self._link(rows, table, "instance_token", of_instance)
        center = self._vectors(rows, table, "translation", 3)
        places = {row["token"]: at for at, row in enumerate(rows)}
        before = self._link(rows, table, "prev", places)
        after = self._link(rows, table, "next", places)
        self._save("boxes", {
            "token": [row["token"] for row in rows], "sample": sample, "instance": instance,
            "category": category[instance], "label": labels[category[instance]].astype(np.int32),
            "attribute": self._first_attributes(rows, attribute),
            "num_attributes": np.array([len(r["attribute_tokens"]) for r in rows], np.int32),
            "center": center,
            "size": self._vectors(rows, table, "size", 3),
            "rotation": self._vectors(rows, table, "rotation", 4),
            "velocity": velocities(center, self.stamps[sample], before, after),
            "num_lidar_pts": self._counts(rows, table, "num_lidar_pts"),
            "num_radar_pts": self._counts(rows, table, "num_radar_pts"),
        })  # fmt: skip
        return [row["name"] for row in categories], [row["name"] for row in attributes]

    def _first_attributes(self, rows: list[Row], number: dict[str, int]) -> np.ndarray:
        found = np.full(len(rows), NONE, np.int32)
        field, known = "attribute_tokens", list(number)
        for at, row in enumerate(rows):
            if row[field]:
                if row[field][0] not in known:
                    allowed = "tokens of attribute.json"
                    raise ValueError(
                        self._said("sample_annotation", row, field, row[field], allowed)
                    )
                found[at] = number[row[field][0]]
        return found

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
