"""The assignment of least cost by shortest augmenting paths (Crouse 2016, doi
10.1109/TAES.2016.140952), compiled. Ties are broken as in scipy.optimize.linear_sum_assignment:
columns are visited from the last to the first, and of equally near ones a free one wins.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparsefront.scenes.scoring.box_table import Floats, Ints


@njit(cache=True, nogil=True)
def assign(cost: Floats) -> Ints:
    """Column of each row of cost [N, M], finite; -1 for rows without one, where N > M."""
    rows, columns = cost.shape
    if rows <= columns:
        return _assign_columns(cost)
    row_of = _assign_columns(cost.T.copy())
    found = np.full(rows, -1, np.int64)
    for column in range(columns):
        found[row_of[column]] = column
    return found


@njit(cache=True, nogil=True)
def _assign_columns(cost: Floats) -> Ints:
    """The same for N <= M."""
    rows, columns = cost.shape
    by_row, by_column = np.zeros(rows), np.zeros(columns)  # dual prices
    column_of, row_of = np.full(rows, -1, np.int64), np.full(columns, -1, np.int64)
    path = np.full(columns, -1, np.int64)
    length = np.zeros(columns)
    for start in range(rows):
        end, least, seen_row, seen_column = _shortest_path(
            cost, start, by_row, by_column, row_of, path, length
        )
        by_row[start] += least
        for row in range(rows):
            if seen_row[row] and row != start:
                by_row[row] += least - length[column_of[row]]
        for column in range(columns):
            if seen_column[column]:
                by_column[column] -= least - length[column]
        row = -1
        while row != start:  # swap along the path
            row = path[end]
            row_of[end] = row
            column_of[row], end = end, column_of[row]
    return column_of


@njit(cache=True, nogil=True)
def _shortest_path(
    cost: Floats,
    row: int,
    by_row: Floats,
    by_column: Floats,
    row_of: Ints,
    path: Ints,
    length: Floats,
) -> tuple[int, float, NDArray[np.bool_], NDArray[np.bool_]]:
    """The free column nearest to a row, how far it is, rows and columns on the way; fills path and
    length.
    """
    rows, columns = cost.shape
    left = np.arange(columns - 1, -1, -1)
    count = columns
    seen_row, seen_column = np.zeros(rows, np.bool_), np.zeros(columns, np.bool_)
    length[:] = np.inf
    least = 0.0
    while True:
        seen_row[row] = True
        nearest, at = np.inf, -1
        for place in range(count):
            column = left[place]
            reach = least + cost[row, column] - by_row[row] - by_column[column]
            if reach < length[column]:
                path[column] = row
                length[column] = reach
            same = length[column] == nearest and row_of[column] == -1
            if length[column] < nearest or same:
                nearest, at = length[column], place
        least = nearest
        column = left[at]
        seen_column[column] = True
        if row_of[column] == -1:
            return column, least, seen_row, seen_column
        row = row_of[column]
        count -= 1
        left[at] = left[count]
