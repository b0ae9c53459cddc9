"""Distillation from the dense model: stay near its BEV maps and its head outputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsefront.models.fusion_model import FusionModel
from sparsefront.scenes.batch import SensorBatch

MOST = 100.0
"""About the largest distance of one map."""


def distillation(
    features: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    teacher: FusionModel,
    batch: SensorBatch,
    feature_weight: float,
    head_weight: float,
) -> Tensor:
    """feature_weight x mean over the maps + head_weight x mean over the outputs of
    |student - teacher|^2 / |teacher|^2 (feature imitation; Romero et al., ICLR 2015, eq. 3, made
    relative so that the terms have no unit). The teacher is used as it is, without gradients.
    """
    with torch.no_grad():
        wanted_features = teacher.features(batch)
        wanted_outputs = teacher.heads(wanted_features) if head_weight > 0 else {}
    found = feature_weight * _relative(features, wanted_features)
    return found if head_weight == 0 else found + head_weight * _relative(outputs, wanted_outputs)


def _relative(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(
        [_distance(student[n].float(), t.float()) for n, t in teacher.items()]
    ).mean()


def _distance(student: Tensor, wanted: Tensor) -> Tensor:
    """|student - wanted|^2 / |wanted|^2; of a map that is (nearly) all zero, such as a LiDAR's that
    saw nothing, in units of the student's own, so that it does not drown all else.
    """
    own = student.detach().square().sum()
    scale = torch.maximum(wanted.square().sum(), own / MOST)
    return (student - wanted).square().sum() / scale.clamp(min=1e-12)
