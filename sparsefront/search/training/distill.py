"""Distillation from the dense model: stay near its BEV maps and its head outputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

MOST = 100.0
"""About the largest distance of one map."""


def distillation(
    student: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    teacher: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    feature_weight: float,
    head_weight: float,
) -> Tensor:
    """feature_weight x mean over the maps + head_weight x mean over the outputs of
    |student - teacher|^2 / |teacher|^2 (feature imitation; Romero et al., ICLR 2015, eq. 3, made
    relative so that the terms have no unit). Student and teacher: maps and outputs by name.
    """
    parts = zip((feature_weight, head_weight), student, teacher, strict=True)
    terms = [weight * _relative(own, wanted) for weight, own, wanted in parts if weight > 0]
    return torch.stack(terms).sum() if len(terms) > 1 else terms[0]


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
