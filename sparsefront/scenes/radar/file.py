"""Radar files of nuScenes: binary .pcd with 18 fields a point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsefront.scenes.frame import BadSample

POINT = np.dtype([
    ("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("dyn_prop", "i1"), ("id", "<i2"), ("rcs", "<f4"),
    ("vx", "<f4"), ("vy", "<f4"), ("vx_comp", "<f4"), ("vy_comp", "<f4"),
    ("is_quality_valid", "i1"), ("ambig_state", "i1"), ("x_rms", "i1"), ("y_rms", "i1"),
    ("invalid_state", "i1"), ("pdh0", "i1"), ("vx_rms", "i1"), ("vy_rms", "i1"),
])  # fmt: skip
"""One point as it is stored, in metres, m/s and dBsm; x forward and y left of the radar."""
FIELDS = POINT.names or ()
_KINDS = {"f": "F", "i": "I"}
_LAYOUT = {
    "FIELDS": " ".join(FIELDS),
    "SIZE": " ".join(str(POINT[name].itemsize) for name in FIELDS),
    "TYPE": " ".join(_KINDS[POINT[name].kind] for name in FIELDS),
    "COUNT": " ".join("1" for _ in FIELDS),
}


def read_radar(path: str | Path) -> NDArray[np.float32]:
    """[P, 18] of a .pcd file in the order of FIELDS, all points that it holds.

    A first point with a NaN marks a file without points. BadSample, naming the file, where it is
    cut short or not of this format.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BadSample(f"{path}: {error.strerror}; allowed: a radar file (.pcd)") from error
    count, start = _header(path, content)
    data = content[start : start + count * POINT.itemsize]
    if len(data) < count * POINT.itemsize:
        raise BadSample(
            f"{path}: {len(data)} bytes of points; allowed: {count * POINT.itemsize} for {count}"
        )
    stored = np.frombuffer(data, POINT)
    points = np.stack([stored[name] for name in FIELDS], axis=1).astype(np.float32)
    if len(points) and np.isnan(points[0]).any():
        return points[:0]
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise BadSample(f"{path}: point {row} is not finite; allowed: numbers")
    return points


def write_radar(path: str | Path, points: NDArray[np.floating]) -> None:
    """Points [P, 18] in the order of FIELDS as a .pcd file, ended as nuscenes-devkit expects."""
    stored = np.zeros(max(len(points), 1), POINT)
    for column, name in enumerate(FIELDS):
        stored[name][: len(points)] = points[:, column]
    if not len(points):
        stored["x"] = np.nan
    lines = ["# .PCD v0.7 - Point Cloud Data file format", "VERSION 0.7",
             *(f"{key} {value}" for key, value in _LAYOUT.items()), f"WIDTH {len(stored)}",
             "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {len(stored)}",
             "DATA binary"]  # fmt: skip
    header = "".join(f"{line}\n" for line in lines).encode()
    Path(path).write_bytes(header + stored.tobytes() + b"\n")


def _header(path: str | Path, content: bytes) -> tuple[int, int]:
    """The number of points, and the byte at which they start."""
    found: dict[str, str] = {}
    start = 0
    while found.get("DATA") is None:
        end = content.find(b"\n", start)
        if end < 0 or end - start > 1000:
            raise BadSample(f"{path}: no line DATA; allowed: a radar file (.pcd)")
        key, _, value = content[start:end].decode("ascii", "replace").strip().partition(" ")
        found[key] = value.strip()
        start = end + 1
    for key, value in {**_LAYOUT, "HEIGHT": "1", "DATA": "binary"}.items():
        if found.get(key) != value:
            raise BadSample(f"{path}: {key} {found.get(key)!r}; allowed: {value!r}")
    width = found.get("WIDTH", "")
    if not width.isdecimal():
        raise BadSample(f"{path}: WIDTH {width!r}; allowed: a number of points")
    return int(width), start
