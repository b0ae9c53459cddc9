"""Reads an array of an .npz file one row at a time: it may be larger than memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sparsefront.errors import InputError


def read_rows(path: Path, name: str) -> Iterator[NDArray[np.generic]]:
    """Yields array[0], array[1], ... of the array `name`. KeyError where it is missing, InputError
    where it is cut short or not stored row by row.
    """
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_column, kind = read(file)
        if by_column or kind.hasobject or len(shape) < 2:
            raise InputError(f"{name}: an array of {kind}; allowed: numbers stored row by row")
        size = prod(shape[1:]) * kind.itemsize
        for row in range(shape[0]):
            data = file.read(size)
            if len(data) < size:
                raise InputError(f"{name}: cut short at sample {row}")
            yield np.frombuffer(data, kind).reshape(shape[1:])
