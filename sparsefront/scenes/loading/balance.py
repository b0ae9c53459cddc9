"""Class-balanced grouping and sampling (CBGS; Zhu et al., arXiv 1908.09492, sec. 3.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def draw_class_balanced(
    present: NDArray[np.bool_], random: np.random.Generator
) -> NDArray[np.int64]:
    """Draws frames to train on with repetition, equally many for each class.

    present  [S, K] which frames have which class; for each class as many are drawn as a class has
             frames on average. A class that is in no frame gets none; frames without any class are
             never drawn
    """
    each = int(present.sum() / present.shape[1])
    drawn = [random.choice(np.flatnonzero(own), each) for own in present.T if own.any()]
    return np.concatenate([*drawn, np.zeros(0, np.int64)]).astype(np.int64)
