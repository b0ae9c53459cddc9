"""Reads results files in nuScenes' submission format sample by sample: only one sample's boxes are
Python objects at a time.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from numba import njit
from numpy.typing import NDArray

from sparsefront.errors import InputError
from sparsefront.scenes.scoring.box_table import Ints

Bytes = NDArray[np.uint8]
MAX_BOXES = 500
QUOTE, BACKSLASH, COLON, COMMA = ord('"'), ord("\\"), ord(":"), ord(",")
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = ord("{"), ord("}"), ord("["), ord("]")
BROKEN = -1


def read_samples(path: str | Path, tokens: list[str]) -> Iterator[tuple[int, list[Any]]]:
    """Yields the number of a sample in `tokens` and its boxes, in the order of the file.
    InputError, one line naming the file, where it is no submission or has other samples.
    """
    try:
        with (
            open(path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            results = _results(data)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: {error}; allowed: a submission with results") from error
    number = {token: i for i, token in enumerate(tokens)}
    missing = [t for t in tokens if t not in results]
    more = [t for t in results if t not in number]
    if missing or more:
        fault = f"sample {missing[0]} is missing" if missing else f"sample {more[0]} is unknown"
        raise InputError(f"{path}: {fault}; allowed: exactly the {len(tokens)} of the split")
    with open(path, "rb") as file:
        for token, (begin, end) in results.items():
            yield number[token], _boxes(file, begin, end, f"{path}: sample {token}")


def _boxes(file: BinaryIO, begin: int, end: int, where: str) -> list[Any]:
    file.seek(begin)
    try:
        boxes = _value(file.read(end - begin))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: {error}; allowed: JSON") from error
    if not isinstance(boxes, list):
        raise InputError(f"{where}: {type(boxes).__name__}; allowed: a list of boxes")
    if len(boxes) > MAX_BOXES:
        raise InputError(f"{where}: {len(boxes)} boxes; allowed: {MAX_BOXES}")
    return boxes


def _results(data: mmap.mmap) -> dict[str, tuple[int, int]]:
    """Sample -> where its list of boxes begins and ends. What surrounds the results is read as JSON
    without them.
    """
    for found in re.finditer(rb'"results"\s*:\s*(?=\{)', data):
        spans, end = _members(np.frombuffer(data, np.uint8), found.end())
        if end == BROKEN:
            raise InputError("results are no JSON object of samples")
        around = json.loads(data[: found.end()] + b"null" + data[end:])
        if isinstance(around, dict) and around.get("results", 0) is None:
            break
    else:
        json.loads(data[:])
        raise InputError("no results")
    samples: dict[str, tuple[int, int]] = {}
    for key_begin, key_end, begin, end in spans.tolist():
        token = json.loads(data[key_begin:key_end])
        if token in samples:
            raise InputError(f"sample {token} is there twice")
        samples[token] = (begin, end)
    return samples


def _value(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # it knows no NaN, which the devkit writes
        return json.loads(text)


@njit(cache=True)
def _members(data: Bytes, at: int) -> tuple[Ints, int]:
    """Of the object that begins at `at`: rows of key begin and end (quotes included), value begin
    and end; and where it ends, BROKEN where it does not. Values are not looked into.
    """
    rows = []
    rows.append((0, 0, 0, 0))  # for its type
    at = _next(data, at + 1)
    last = BROKEN
    if _byte(data, at) == CLOSE:
        last = at + 1
    while last == BROKEN and _byte(data, at) == QUOTE:
        key_begin, key_end = at, _skip(data, at)
        at = _next(data, key_end)
        if _byte(data, at) != COLON:
            break
        begin = _next(data, at + 1)
        end = _skip(data, begin)
        rows.append((key_begin, key_end, begin, end))
        at = _next(data, end)
        if _byte(data, at) == CLOSE:
            last = at + 1
        elif _byte(data, at) != COMMA:
            break
        at = _next(data, at + 1)
    spans = np.zeros((len(rows) - 1, 4), np.int64)
    for row in range(len(spans)):
        for column in range(4):
            spans[row, column] = rows[row + 1][column]
    return spans, last


@njit(cache=True)
def _next(data: Bytes, at: int) -> int:
    """The first place from `at` on that is no space."""
    while _byte(data, at) == 32 or 9 <= _byte(data, at) <= 13:
        at += 1
    return at


@njit(cache=True)
def _byte(data: Bytes, at: int) -> int:
    return data[at] if at < len(data) else 0


@njit(cache=True)
def _skip(data: Bytes, at: int) -> int:
    """Where the value that begins at `at` ends."""
    depth = 0
    while at < len(data):
        byte = data[at]
        if byte == QUOTE:
            at += 1
            while at < len(data) and data[at] != QUOTE:
                at += 2 if data[at] == BACKSLASH else 1
        elif byte in (OPEN_LIST, OPEN):
            depth += 1
        elif byte in (CLOSE_LIST, CLOSE):
            depth -= 1
        elif depth == 0 and (byte in (COMMA, COLON)):
            return at
        at += 1
        if depth == 0 and (byte in (QUOTE, CLOSE_LIST, CLOSE)):
            return at
        if depth < 0:
            return at - 1
    return at
