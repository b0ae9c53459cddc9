"""Distances between labels and predictions frame by frame, to the bit those of the official tool.

It takes them from scikit-learn's euclidean_distances, |x|^2 - 2 x.y + |y|^2, which loses digits
at coordinates of a kilometre: two centres at one place may be 1e-5 m apart. The last bit of x.y is
the matrix library's choice, and another one for a single prediction than for several, so the same
library is called with the same shapes.
"""

from __future__ import annotations

import numpy as np

from sparsefront.scenes.scoring.box_table import Floats, Ints


def frame_distances(
    wanted: Floats, wanted_at: Ints, found: Floats, found_at: Ints
) -> tuple[Floats, Ints]:
    """wanted [W, 2] and found [P, 2] in m, those of frame f from wanted_at[f] to wanted_at[f + 1].

    Distances, of each frame [labels, predictions] row by row, and where each frame's begin [F].
    """
    labels, predictions = np.diff(wanted_at), np.diff(found_at)
    count = labels * predictions
    begins = np.cumsum(count) - count
    distance = np.zeros(count.sum())
    squares = _squares(wanted), _squares(found)
    shape = labels * (int(predictions.max(initial=0)) + 1) + predictions
    for one in np.unique(shape[count > 0]):
        mine = np.flatnonzero(shape == one)
        n, m = labels[mine[0]], predictions[mine[0]]
        rows = wanted_at[mine][:, None] + np.arange(n)  # frames of this shape, n
        columns = found_at[mine][:, None] + np.arange(m)  # frames of this shape, m
        apart = -2 * (wanted[rows] @ found[columns].swapaxes(1, 2))
        apart += squares[0][rows][:, :, None]
        apart += squares[1][columns][:, None, :]
        apart = np.sqrt(np.maximum(apart, 0))
        distance[begins[mine][:, None] + np.arange(n * m)] = apart.reshape(len(mine), -1)
    return distance, begins


def _squares(points: Floats) -> Floats:
    out: Floats = np.einsum("ij,ij->i", points, points)
    return out
