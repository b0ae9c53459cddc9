"""Maps scored on frames small enough to check by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.scenes.batch import MAP_CLASSES, MapProbabilities, SensorBatch
from sparsefront.scenes.loader import ImageSpec
from sparsefront.search.evaluation.evaluate import evaluate_maps
from sparsefront.search.evaluation.synthetic_frame import synthetic_frame


def test_miou_by_hand() -> None:
    """One class is right everywhere, the others hit nothing: mIoU is a sixth."""
    batch, found = a_map(wanted=[0, 1], predicted=[0])
    evaluation = evaluate_maps(iter([(batch, found), (batch, found)]))
    assert evaluation.metrics == {"mIoU": pytest.approx(1 / 6, abs=1e-6)}
    assert evaluation.per_class["IoU.drivable_area"] == pytest.approx(1, abs=1e-6)
    assert evaluation.per_class["IoU.ped_crossing"] == 0
    assert len(evaluation.per_class) == len(MAP_CLASSES)
    with pytest.raises(InputError, match="val: frame synthetic frame has no map"):
        evaluate_maps(iter([(synthetic_frame(ImageSpec()), found)]))
    with pytest.raises(InputError, match="none of the frames could be read"):
        evaluate_maps(iter([]))


def a_map(wanted: list[int], predicted: list[int]) -> tuple[SensorBatch, MapProbabilities]:
    """A frame where each wanted class covers all cells, and one where each predicted class does."""
    maps = torch.zeros(len(MAP_CLASSES), 4, 4, dtype=torch.bool)
    maps[wanted] = True
    probabilities = torch.zeros(len(MAP_CLASSES), 4, 4)
    probabilities[predicted] = 0.9
    frame = synthetic_frame(ImageSpec())
    targets = tuple(replace(t, maps=maps) for t in frame.targets)
    return replace(frame, targets=targets), MapProbabilities(probabilities=probabilities)
