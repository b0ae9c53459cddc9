"""A JSON table of a nuScenes-format data set, its fields as checked columns.

Anything wrong raises InputError in one line that names the table, the record, the field and what is
allowed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsefront.errors import InputError
from sparsefront.scenes.geometry import Array

Numbers = {int, float}
LARGEST_EXACT = 2.0**53
"""Below it float64 holds every whole number."""
TYPE_NAMES = {
    str: "text",
    bool: "true or false",
    list: "a list",
    type(None): "null",
    int: "a number",
}


@dataclass(frozen=True)
class JsonTable:
    """Records of one file, each with a token."""

    path: Path
    rows: list[dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> JsonTable:
        try:
            rows = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: {error}; allowed: a table of nuScenes") from error
        if not isinstance(rows, list) or not set(map(type, rows)) <= {dict}:
            raise InputError(f"{path}: holds no list of records; allowed: a table of nuScenes")
        return cls(path, rows)

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, rows: Sequence[int] | NDArray[np.integer]) -> JsonTable:
        """Some of the records, in this order."""
        return JsonTable(self.path, [self.rows[row] for row in rows])

    def error_in(self, row: int, field: str, allowed: str) -> InputError:
        """An error, to be raised, that says what a record may hold."""
        record = self.rows[row]
        return InputError(
            f"{self.path}: record {record.get('token')}: {field}: value "
            f"{record.get(field)!r:.80}; allowed: {allowed}"
        )

    def row_by_token(self) -> dict[str, int]:
        """Token -> its row. InputError for a token that is there twice."""
        tokens = self.strings("token")
        found = {token: row for row, token in enumerate(tokens)}
        if len(found) < len(tokens):
            row = next(row for row, token in enumerate(tokens) if found[token] != row)
            raise self.error_in(row, "token", "each once")
        return found

    def column(self, field: str, *kinds: type) -> list[Any]:
        """Values of a field, of these types alone."""
        values = [row.get(field, ...) for row in self.rows]  # ... is of no type that JSON has
        if not set(map(type, values)) <= set(kinds):
            row = next(row for row, value in enumerate(values) if type(value) not in kinds)
            names = [
                TYPE_NAMES[kind] for kind in kinds if kind is not float
            ]  # int says it for both
            raise self.error_in(row, field, " or ".join(names))
        return values

    def strings(self, field: str) -> list[str]:
        return self.column(field, str)

    def integers(self, field: str, optional: bool = False) -> NDArray[np.int64]:
        """[N], 0 and above; with `optional` 0 for null."""
        kinds = (int, float, type(None)) if optional else (int, float)
        found = np.array([value or 0 for value in self.column(field, *kinds)], np.float64)
        good = (found >= 0) & (found < LARGEST_EXACT)
        if not good.all():
            raise self.error_in(int(np.flatnonzero(~good)[0]), field, "a whole number from 0")
        return found.astype(np.int64)

    def vectors(self, field: str, width: int) -> Array:
        """[N, width]"""
        return self._vectors(field, self.column(field, list), width)

    def matrices(self, field: str, width: int) -> Array:
        """[N, width] of lists of rows; zeros for an empty list."""
        values = []
        for row, rows in enumerate(self.column(field, list)):
            if not set(map(type, rows)) <= {list}:
                raise self.error_in(row, field, f"rows of numbers, {width} in all")
            values.append(list(chain.from_iterable(rows)) or [0.0] * width)
        return self._vectors(field, values, width)

    def links(self, field: str, to: Mapping[str, int], optional: bool = False) -> NDArray[np.int32]:
        """The row in another table that each token names; with `optional` NONE for "" or null."""
        kinds = (str, type(None)) if optional else (str,)
        return self._links(field, self.column(field, *kinds), to, optional)

    def first_links(self, field: str, to: Mapping[str, int]) -> NDArray[np.int32]:
        """As links, of the first token of each list; NONE for an empty one."""
        first = [tokens[0] if tokens else "" for tokens in self.column(field, list)]
        return self._links(field, first, to, optional=True)

    def _vectors(self, field: str, values: list[list[Any]], width: int) -> Array:
        fit = set(map(len, values)) <= {width}
        if not fit or not set(map(type, chain.from_iterable(values))) <= Numbers:
            row = next(
                row
                for row, value in enumerate(values)
                if len(value) != width or not set(map(type, value)) <= Numbers
            )
            raise self.error_in(row, field, f"{width} numbers")
        found = np.array(values, np.float64).reshape(-1, width)
        finite = np.isfinite(found).all(axis=1)
        if not finite.all():
            raise self.error_in(int(np.flatnonzero(~finite)[0]), field, "finite numbers")
        return found

    def _links(
        self, field: str, tokens: list[Any], to: Mapping[str, int], optional: bool
    ) -> NDArray[np.int32]:
        for row, token in enumerate(tokens):
            if token not in to and (token or not optional):
                raise self.error_in(row, field, "a token of its table")
        return np.array([to.get(token, NONE) for token in tokens], np.int32)


NONE = -1
"""The row of a token that names nothing."""

TABLES = (
    "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor", "sample_annotation",
    "instance", "category", "attribute", "scene", "log",
)  # fmt: skip
