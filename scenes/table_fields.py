"""What the records of a nuScenes table must hold for a sample store to be made of them."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path
from typing import Any

Row = dict[str, Any]
NAMES = {str: "text", int: "a whole number", bool: "true or false", list: "a list"}
POSE = {"translation": list, "rotation": list}
FIELDS: dict[str, dict[str, type]] = {
    "scene": {"token": str, "name": str, "first_sample_token": str, "log_token": str},
    "log": {"token": str, "location": str},
    "sample": {"token": str, "timestamp": int, "next": str},
    "sensor": {"token": str, "channel": str},
    "calibrated_sensor": {
        "token": str, "sensor_token": str, **POSE, "camera_intrinsic": list,
    },
    "sample_data": {
        "token": str, "sample_token": str, "calibrated_sensor_token": str, "ego_pose_token": str,
        "filename": str, "timestamp": int, "is_key_frame": bool, "prev": str,
    },
    "ego_pose": {"token": str, **POSE},
    "category": {"token": str, "name": str},
    "attribute": {"token": str, "name": str},
    "instance": {"token": str, "category_token": str},
    "sample_annotation": {
        "token": str, "sample_token": str, "instance_token": str, "prev": str, "next": str,
        **POSE, "size": list, "attribute_tokens": list, "num_lidar_pts": int, "num_radar_pts": int,
    },
}  # fmt: skip
"""Fields that are read of each table, and their kinds in JSON."""


def read_table(path: Path) -> list[Row]:
    """Records of a table that have every field of FIELDS. ValueError naming file, record and field
    where one has not.
    """
    try:
        rows = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}; allowed: a table of nuScenes") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path}: holds a {type(rows).__name__}; allowed: a list of records")
    for at, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f"{path}: record {at}: value {row!r:.80}; allowed: a record")
    for field, kind in FIELDS[path.stem].items():
        try:
            fits = set(map(type, map(itemgetter(field), rows))) <= {kind}
        except KeyError:
            fits = False
        if not fits:
            at, bad = next((i, r) for i, r in enumerate(rows) if type(r.get(field)) is not kind)
            raise ValueError(
                f"{path}: record {bad.get('token') or at}: {field}: value {bad.get(field)!r:.80}; "
                f"allowed: {NAMES[kind]}"
            )
    return rows
