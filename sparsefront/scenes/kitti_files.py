"""KITTI's text and point files as arrays. Anything wrong raises BadSample in one line naming the
file, the line, the value and what is allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsefront.scenes.frame import BadSample

Floats = NDArray[np.float64]
COLUMNS, SCORED_COLUMNS = 15, 16
NAMES = (
    "truncation", "occlusion", "alpha", "left", "top", "right", "bottom", "height", "width",
    "length", "x", "y", "z", "rotation_y", "score",
)  # fmt: skip
MATRICES = {"P2": 12, "R0_rect": 9, "Tr_velo_to_cam": 12}
DONT_CARE = "dontcare"
NO_ANGLE = -10.0
"""alpha and rotation_y where they are not known."""
ROUNDING = 0.01
"""Angles are stored with two digits, so one near pi may round beyond it."""
MIN_PIXELS, MAX_OCCLUSION, MAX_TRUNCATION = (40, 25, 25), (0, 1, 2), (0.15, 0.30, 0.50)
"""Of the difficulties easy, moderate, hard: objects are higher, no more occluded or truncated."""


@dataclass(frozen=True, kw_only=True)
class KittiObjects:
    """A frame's objects or detections, rectified camera frame (x right, y down, z ahead).

    kind [N] lower case; truncated 0..1, occluded 0..3 [N]; alpha, turn around y [N] rad; pixels
    [N, 4] left, top, right, bottom; size [N, 3] height, width, length and bottom [N, 3] in m;
    score [N]
    """

    kind: NDArray[np.str_]
    truncated: Floats
    occluded: Floats
    alpha: Floats
    pixels: Floats
    size: Floats
    bottom: Floats
    turn: Floats
    score: Floats

    def __len__(self) -> int:
        return len(self.kind)


def read_objects(path: str | Path, scored: bool) -> KittiObjects:
    """A label file (15 columns), or a detection file (16, the score last)."""
    columns = SCORED_COLUMNS if scored else COLUMNS
    kinds, rows = [], []
    for number, line in enumerate(_lines(path), start=1):
        words = line.split()
        if not words:
            continue
        where = f"{path}: line {number}"
        if len(words) != columns:
            raise BadSample(f"{where}: {len(words)} columns; allowed: {columns}")
        kinds.append(words[0].lower())
        rows.append([_number(w, n, where) for w, n in zip(words[1:], NAMES, strict=False)])
        _check_size(rows[-1], where)
        if not scored and kinds[-1] != DONT_CARE:
            _check_label(rows[-1], where)
    table = np.array(rows, dtype=np.float64).reshape(-1, columns - 1)
    return KittiObjects(
        kind=np.array(kinds, dtype=np.str_), truncated=table[:, 0], occluded=table[:, 1],
        alpha=table[:, 2], pixels=table[:, 3:7], size=table[:, 7:10], bottom=table[:, 10:13],
        turn=table[:, 13], score=table[:, 14] if scored else np.zeros(len(table)),
    )  # fmt: skip


def read_calibration(path: str | Path) -> dict[str, Floats]:
    """P2 [3, 4], R0_rect [3, 3] and Tr_velo_to_cam [3, 4]; other lines are left unread."""
    found = {}
    for number, line in enumerate(_lines(path), start=1):
        name, _, values = line.partition(":")
        count = MATRICES.get(name.strip())
        if count is None:
            continue
        where = f"{path}: line {number}"
        numbers = [_number(w, name.strip(), where) for w in values.split()]
        if len(numbers) != count:
            raise BadSample(f"{where}: {name} has {len(numbers)} numbers; allowed: {count}")
        found[name.strip()] = np.array(numbers).reshape(3, -1)
    if missing := sorted(set(MATRICES) - set(found)):
        raise BadSample(f"{path}: {missing[0]} is missing; allowed: a line {missing[0]}: ...")
    return found


def read_points(path: str | Path) -> NDArray[np.float32]:
    """[P, 4]: x ahead, y left, z up (m), reflectance 0..1."""
    if not Path(path).is_file():
        raise BadSample(f"{path} is missing; allowed: a scan for each frame")
    data = Path(path).read_bytes()
    if len(data) % 16:
        raise BadSample(f"{path}: {len(data)} bytes; allowed: a multiple of 16 (cut off?)")
    points = np.frombuffer(data, dtype=np.float32).reshape(-1, 4)
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(1))[0])
        raise BadSample(f"{path}: point {row}: {points[row].tolist()}; allowed: finite numbers")
    return points


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except FileNotFoundError:
        raise BadSample(f"{path} is missing; allowed: one file a frame") from None
    except UnicodeDecodeError:
        raise BadSample(f"{path}: not text; allowed: lines of words and numbers") from None
    except OSError as error:
        raise BadSample(f"{path}: {error.strerror}; allowed: one file a frame") from None


def _number(word: str, name: str, where: str) -> float:
    try:
        value = float(word.replace("_", "?"))  # Python would read 1_0 as 10
    except ValueError:
        raise BadSample(f"{where}: {name} {word!r}; allowed: a number") from None
    if not math.isfinite(value):
        raise BadSample(f"{where}: {name} {word!r}; allowed: a finite number")
    return value


def _check_size(row: list[float], where: str) -> None:
    """Sizes are all known, or all unknown (-1)."""
    size = row[7:10]
    if min(size) < 0 <= max(size):
        raise BadSample(f"{where}: height, width, length {size}; allowed: 0 and above, or all -1")


def _check_label(row: list[float], where: str) -> None:
    for column, allowed, good in (
        (0, "0..1", 0 <= row[0] <= 1),
        (1, "0, 1, 2, 3", row[1] in (0, 1, 2, 3)),
        (2, "-pi..pi, or -10", _is_angle(row[2])),
        (7, "0 and above", row[7] >= 0),
        (13, "-pi..pi, or -10", _is_angle(row[13])),
    ):
        if not good:
            raise BadSample(f"{where}: {NAMES[column]} {row[column]:g}; allowed: {allowed}")


def _is_angle(value: float) -> bool:
    return value == NO_ANGLE or abs(value) <= math.pi + ROUNDING
