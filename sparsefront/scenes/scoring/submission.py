"""Parses results files in the official formats: checks them and fills tables sample by sample.

A sample is parsed in whole columns, and box by box only to find the box where a column is wrong.
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
from sparsefront.scenes.scoring.results_file import read_samples

Parser = Callable[[int, list[Any]], BoxTable]
WRONG = (KeyError, TypeError, ValueError, AttributeError)
WIDTHS = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}
ATTRIBUTE_NUMBERS = {"": NO_ATTRIBUTE, **{name: i for i, name in enumerate(ATTRIBUTES)}}
MAX_POINTS = 2**31
CLASS_NUMBERS = {name: i for i, name in enumerate(DETECTION_CLASSES)}


def read_submission(path: str | Path, scenes: NuScenesScenes) -> BoxTable:
    """Detections in the official format, over exactly the frames of `scenes`. InputError, one line
    naming file and record, for anything that the official tools refuse.

    Rows are in the order that decides between equal scores officially: that of the file in the
    devkit's own splits, in others that of the frames.
    """
    with pause_collector():
        tables = [
            parse_sample(str(path), scenes.tokens[number], number, boxes, parse_detections)
            for number, boxes in read_samples(path, scenes.tokens)
        ]
    found = BoxTable.joined(tables) if tables else BoxTable.empty()
    if is_predefined_split(split_name=scenes.spec.split):
        return found
    return found[np.argsort(found.sample, kind="stable")]


@contextmanager
def pause_collector() -> Iterator[None]:
    """Pauses the garbage collector: JSON has no cycles, and the search takes 40 % of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def parse_sample(path: str, token: str, number: int, boxes: list[Any], parse: Parser) -> BoxTable:
    """Parses a sample's boxes; InputError naming the box where one is wrong."""

    def parse_own(boxes: list[Any]) -> BoxTable:
        found = parse(number, boxes)
        # the devkit matches a box in the sample that the box names
        if other := [b["sample_token"] for b in boxes if b["sample_token"] != token]:
            raise InputError(f"sample_token: value {other[0]!r}; allowed: {token}")
        return found

    try:
        return parse_own(boxes)
    except WRONG:
        for at, box in enumerate(boxes):
            try:
                parse_own([box])
            except WRONG as error:
                reason = f"{error} is missing" if isinstance(error, KeyError) else error
                raise InputError(f"{path}: sample {token}, box {at}: {reason}") from error
        raise


def parse_detections(number: int, boxes: list[Any]) -> BoxTable:
    """Parses one sample's boxes with the detection task's fields."""
    attribute = parse_choices(boxes, "attribute_name", ATTRIBUTE_NUMBERS)
    found = parse_boxes(number, boxes, "detection", CLASS_NUMBERS)
    if not (found.size > 0).all():
        bad = found.size[~(found.size > 0).all(1)][0].tolist()
        raise InputError(f"size: value {bad}; allowed: 3 numbers above 0")
    return replace(found, attribute=attribute)


def parse_boxes(number: int, boxes: list[Any], task: str, classes: Mapping[str, int]) -> BoxTable:
    """Parses one sample's boxes without attributes; fields of the task ("detection") begin with its
    name. KeyError, TypeError or InputError where a box is wrong.
    """
    sure = parse_numbers([box[f"{task}_score"] for box in boxes], f"{task}_score")
    if not ((sure >= 0) & (sure < np.inf)).all():
        bad = sure[~((sure >= 0) & (sure < np.inf))][0]
        raise InputError(f"{task}_score: value {bad}; allowed: finite, 0 and above")
    points = parse_numbers([box.get("num_pts", UNKNOWN_POINTS) for box in boxes], "num_pts")
    if not (np.abs(points) < MAX_POINTS).all():
        bad = points[~(np.abs(points) < MAX_POINTS)][0]
        raise InputError(f"num_pts: value {bad}; allowed: a number of points")
    return BoxTable(
        sample=np.full(len(boxes), number, np.int64),
        label=parse_choices(boxes, f"{task}_name", classes),
        center=parse_vectors(boxes, "translation"), size=parse_vectors(boxes, "size"),
        rotation=parse_vectors(boxes, "rotation"), velocity=parse_vectors(boxes, "velocity"),
        attribute=np.full(len(boxes), NO_ATTRIBUTE, np.int64), score=sure,
        num_points=points.astype(np.int64),
    )  # fmt: skip


def parse_vectors(boxes: list[Any], key: str) -> Floats:
    """Parses a field of vectors: [N, its width]. Only a velocity may be unknown."""
    width = WIDTHS[key]
    rows = [box[key] for box in boxes]
    if not set(map(type, rows)) <= {list} or not set(map(len, rows)) <= {width}:
        bad = next(row for row in rows if type(row) is not list or len(row) != width)
        raise InputError(f"{key}: value {bad}; allowed: {width} numbers")
    found = parse_numbers(list(chain.from_iterable(rows)), key).reshape(-1, width)
    if key != "velocity" and not np.isfinite(found).all():
        bad = found[~np.isfinite(found).all(1)][0].tolist()
        raise InputError(f"{key}: value {bad}; allowed: {width} finite numbers")
    return found


def parse_numbers(values: list[Any], key: str) -> Floats:
    """Parses numbers [N]; NumPy would accept strings and null as well."""
    if not set(map(type, values)) <= {float, int}:
        bad = next(v for v in values if type(v) not in (float, int))
        raise InputError(f"{key}: value {bad!r}; allowed: numbers")
    try:
        return np.array(values, np.float64)
    except OverflowError:
        raise InputError(f"{key}: an integer of too many digits; allowed: numbers") from None


def parse_choices(boxes: list[Any], key: str, allowed: Mapping[str, int]) -> Ints:
    """Parses names to their numbers [N]."""
    names = [box[key] for box in boxes]
    try:
        return np.array([allowed[name] for name in names], np.int64)
    except (KeyError, TypeError) as error:
        bad = next(n for n in names if not isinstance(n, str) or n not in allowed)
        known = ", ".join(name for name in allowed if name)
        raise InputError(f"{key}: value {bad!r}; allowed: {known}") from error
