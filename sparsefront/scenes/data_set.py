"""The interface of a data set to the loader, to training and to scores, whatever its format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from sparsefront.scenes.frame import Frame, OnBadSample


class DataSet(Protocol):
    """Frames of one split: NuScenesScenes, KittiScenes, and those to come.

    tokens   frames by name, in order
    cache    what is kept of just these frames in this process, such as filtered labels
    decoded  frames kept in this process, together with those of `without`
    skipped  frames that could not be read: token -> reason
    """

    tokens: list[str]
    cache: dict[object, object]
    decoded: dict[object, object]
    skipped: dict[str, str]
    on_bad_sample: OnBadSample

    @property
    def spec(self) -> Any:
        """The spec that it was opened with."""

    @property
    def labelled(self) -> bool:
        """Whether there are labels; a test split has none."""

    def frame(self, token: str) -> Frame:
        """Read one frame from disk. BadSample naming a file that is missing or damaged."""

    def without(self, tokens: Iterable[str]) -> Self:
        """The same frames less some."""

    def training_frames(self, seed: int) -> NDArray[np.int64]:
        """Places in `tokens` that one epoch of training reads."""

    def label_counts(self) -> list[int]:
        """Boxes of each of DETECTION_CLASSES, without reading a sensor."""

    def objects_folder(self, key: str) -> Path:
        """Where objects to paste are kept."""
