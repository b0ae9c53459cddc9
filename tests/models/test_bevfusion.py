"""The contract of FusionModel, on the small BEVFusion at a tiny size."""

from __future__ import annotations

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.models import BEVFusionSmall, build
from sparsefront.scenes.batch import SensorBatch


def test_first_part_of_a_name_is_the_modality(tiny: BEVFusionSmall) -> None:
    model = build(tiny)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {
        "camera",
        "lidar",
        "fusion",
    }


def test_unprunable_names_exist(tiny: BEVFusionSmall) -> None:
    model = build(tiny)
    assert model.unprunable() <= set(dict(model.named_parameters()))
    assert model.unprunable()


def test_every_parameter_gets_a_gradient(tiny: BEVFusionSmall, batch: SensorBatch) -> None:
    torch.manual_seed(0)
    model = build(tiny)
    model.loss(batch).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_predictions_are_boxes_sorted_by_score(tiny: BEVFusionSmall, batch: SensorBatch) -> None:
    torch.manual_seed(0)
    model = build(tiny).eval()
    found = model.predict(batch)
    assert len(found) == len(batch)
    for frame in found:
        assert frame.boxes.shape == (len(frame.scores), 9)
        assert torch.isfinite(frame.boxes).all()
        assert (frame.scores.diff() <= 0).all()
        assert (frame.boxes[:, 3:6] > 0).all()


@pytest.mark.parametrize("modality", ["camera", "lidar"])
def test_masked_modality_does_not_matter(
    tiny: BEVFusionSmall, batch: SensorBatch, modality: str
) -> None:
    """With its map masked, a branch's weights change nothing; without, they do."""
    torch.manual_seed(0)
    model = build(tiny).eval()
    masked = frozenset({modality})
    with torch.no_grad():
        before_masked = model(batch, masked)["heatmap"]
        before = model(batch)["heatmap"]
        for parameter in getattr(model, modality).parameters():
            parameter.add_(0.1)
        assert torch.equal(model(batch, masked)["heatmap"], before_masked)
        assert not torch.equal(model(batch)["heatmap"], before)


def test_unknown_modality_is_refused(tiny: BEVFusionSmall, batch: SensorBatch) -> None:
    with pytest.raises(InputError, match="allowed"):
        build(tiny)(batch, frozenset({"sonar"}))
