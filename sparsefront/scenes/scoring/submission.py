"""Results files in the official formats as tables: checked and turned into arrays sample by sample.

A sample is read in whole columns; only where a column is wrong, box by box, to say which one.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes.utils.splits import is_predefined_split

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.nuscenes import NuScenesScenes
from sparsefront.scenes.scoring.box_table import (
    ATTRIBUTES,
    NO_ATTRIBUTE,
    UNKNOWN_POINTS,
    BoxTable,
    Floats,
    Ints,
)
from sparsefront.scenes.scoring.results_file import results_of

Read = Callable[[int, list[Any]], BoxTable]
WRONG = (KeyError, TypeError, InputError, AttributeError)
WIDTHS = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}
ATTRIBUTE_NUMBERS = {"": NO_ATTRIBUTE, **{name: i for i, name in enumerate(ATTRIBUTES)}}
MOST_POINTS = 2**31
CLASS_NUMBERS = {name: i for i, name in enumerate(DETECTION_CLASSES)}


def read_submission(path: str | Path, scenes: NuScenesScenes) -> BoxTable:
    """Detections in the official format, over exactly the frames of `scenes`. InputError, one line
    naming file and record, for anything that the official tools refuse.

    Rows are in the order that decides between equal scores officially: that of the file in the
    devkit's own splits, in others that of the frames.
    """
    with collector_paused():
        tables = [
            checked(str(path), scenes.tokens[number], number, boxes, detections)
            for number, boxes in results_of(path, scenes.tokens)
        ]
    found = BoxTable.joined(tables) if tables else BoxTable.empty()
    if is_predefined_split(split_name=scenes.spec.split):
        return found
    return found[np.argsort(found.sample, kind="stable")]


@contextmanager
def collector_paused() -> Iterator[None]:
    """JSON has no cycles; looking for them takes 40 % of the time of reading it."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def checked(path: str, token: str, number: int, boxes: list[Any], read: Read) -> BoxTable:
    """The sample's table; InputError naming the box where one is wrong."""

    def own(boxes: list[Any]) -> BoxTable:
        found = read(number, boxes)
        # the devkit matches a box in the sample that the box names
        if other := [b["sample_token"] for b in boxes if b["sample_token"] != token]:
            raise InputError(f"sample_token: value {other[0]!r}; allowed: {token}")
        return found

    try:
        return own(boxes)
    except WRONG:
        for at, box in enumerate(boxes):
            try:
                own([box])
            except WRONG as error:
                said = f"{error} is missing" if isinstance(error, KeyError) else error
                raise InputError(f"{path}: sample {token}, box {at}: {said}") from error
        raise


def detections(number: int, boxes: list[Any]) -> BoxTable:
    """Boxes of one sample with the detection task's fields."""
    attribute = choices(boxes, "attribute_name", ATTRIBUTE_NUMBERS)
    found = box_table(number, boxes, "detection", CLASS_NUMBERS)
    if not (found.size > 0).all():
        bad = found.size[~(found.size > 0).all(1)][0].tolist()
        raise InputError(f"size: value {bad}; allowed: 3 numbers above 0")
    return replace(found, attribute=attribute)


def box_table(number: int, boxes: list[Any], task: str, classes: Mapping[str, int]) -> BoxTable:
    """Boxes of one sample without attributes; fields of the task ("detection") begin with its name.
    KeyError, TypeError or InputError where a box is wrong.
    """
    sure = floats([box[f"{task}_score"] for box in boxes], f"{task}_score")
    if not ((sure >= 0) & (sure < np.inf)).all():
        bad = sure[~((sure >= 0) & (sure < np.inf))][0]
        raise InputError(f"{task}_score: value {bad}; allowed: finite, 0 and above")
    points = floats([box.get("num_pts", UNKNOWN_POINTS) for box in boxes], "num_pts")
    if not (np.abs(points) < MOST_POINTS).all():
        bad = points[~(np.abs(points) < MOST_POINTS)][0]
        raise InputError(f"num_pts: value {bad}; allowed: a number of points")
    return BoxTable(
        sample=np.full(len(boxes), number, np.int64),
        label=choices(boxes, f"{task}_name", classes),
        center=numbers(boxes, "translation"), size=numbers(boxes, "size"),
        rotation=numbers(boxes, "rotation"), velocity=numbers(boxes, "velocity"),
        attribute=np.full(len(boxes), NO_ATTRIBUTE, np.int64), score=sure,
        num_points=points.astype(np.int64),
    )  # fmt: skip


def numbers(boxes: list[Any], key: str) -> Floats:
    """[N, width of the key]; only a velocity may be unknown."""
    width = WIDTHS[key]
    rows = [box[key] for box in boxes]
    if not set(map(type, rows)) <= {list} or not set(map(len, rows)) <= {width}:
        bad = next(row for row in rows if type(row) is not list or len(row) != width)
        raise InputError(f"{key}: value {bad}; allowed: {width} numbers")
    found = floats(list(chain.from_iterable(rows)), key).reshape(-1, width)
    if key != "velocity" and not np.isfinite(found).all():
        bad = found[~np.isfinite(found).all(1)][0].tolist()
        raise InputError(f"{key}: value {bad}; allowed: {width} finite numbers")
    return found


def floats(values: list[Any], key: str) -> Floats:
    """JSON numbers alone: numpy would take strings and null too."""
    if not set(map(type, values)) <= {float, int}:
        bad = next(v for v in values if type(v) not in (float, int))
        raise InputError(f"{key}: value {bad!r}; allowed: numbers")
    try:
        return np.array(values, np.float64)
    except OverflowError:
        raise InputError(f"{key}: an integer of too many digits; allowed: numbers") from None


def choices(boxes: list[Any], key: str, allowed: Mapping[str, int]) -> Ints:
    """[N] numbers of names."""
    names = [box[key] for box in boxes]
    try:
        return np.array([allowed[name] for name in names], np.int64)
    except (KeyError, TypeError) as error:
        bad = next(n for n in names if not isinstance(n, str) or n not in allowed)
        said = ", ".join(name for name in allowed if name)
        raise InputError(f"{key}: value {bad!r}; allowed: {said}") from error
