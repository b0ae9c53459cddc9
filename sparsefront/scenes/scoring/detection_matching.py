"""The detection score's matching, compiled: by falling score each prediction takes the nearest free
label of its sample.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sparsefront.scenes.scoring.box_table import Floats, Ints

FREE = -1


@njit(cache=True, nogil=True)
def match_detections(
    found: Floats, sample: Ints, mine: Ints, wanted: Floats, begins: Ints, thresholds: Floats
) -> Ints:  # fmt: skip
    """Rows of `wanted` that the predictions of `mine` are matched to at each threshold [T, P], -1
    without a match; each threshold (m) is matched on its own.

    found   [N, 3] centres of predictions, m; sample [N]
    mine    [P] rows of found in the order of their scores
    wanted  [W, 3] centres of labels, those of sample s from begins[s] to begins[s + 1]
    """
    reach = thresholds.max()
    taken = np.zeros((len(thresholds), len(wanted)), np.bool_)
    match = np.full((len(thresholds), len(mine)), FREE, np.int64)
    nearest = np.zeros(len(thresholds))
    for place in range(len(mine)):
        row = mine[place]
        nearest[:] = thresholds
        for label in range(begins[sample[row]], begins[sample[row] + 1]):
            x = wanted[label, 0] - found[row, 0]
            y = wanted[label, 1] - found[row, 1]
            if abs(x) >= reach or abs(y) >= reach:
                continue
            distance = math.sqrt(x * x + y * y)
            for at in range(len(thresholds)):
                if distance < nearest[at] and not taken[at, label]:
                    nearest[at] = distance
                    match[at, place] = label
        for at in range(len(thresholds)):
            if match[at, place] != FREE:
                taken[at, match[at, place]] = True
    return match
