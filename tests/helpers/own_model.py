"""A model, a fuser, a tracker, data and an objective of somebody's own, beside the catalogue's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sparsefront import Metric
from sparsefront.models import BEVFusionSmall
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.scoring.tracker import TrackerSpec, track


@dataclass(frozen=True)
class Wrapped(BEVFusionSmall):
    """The small BEVFusion under another name."""


class Mean(nn.Module):
    """The mean of the maps, each after a 1x1 convolution."""

    def __init__(self, channels_in: Mapping[str, int], channels: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in channels_in.values())

    def forward(self, *maps: Tensor) -> Tensor:
        return torch.stack([f(x) for f, x in zip(self.each, maps, strict=True)]).mean(0)

    def from_concat(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.full_like(t, 0.01) for name, t in self.state_dict().items()}


@dataclass(frozen=True)
class MeanFuser:
    def build(self, channels_in: Mapping[str, int], channels: int) -> nn.Module:
        return Mean(channels_in, channels)


@dataclass(frozen=True)
class Patient:
    """The greedy tracker that waits longer."""

    frames: int = 5

    def track(self, predictions: Any, frames: Any) -> Any:
        return track(predictions, frames, TrackerSpec(max_age=self.frames))


@dataclass(frozen=True, kw_only=True)
class First(NuScenesSpec):
    """The first frame alone."""

    def open(self, on_bad_sample: Any) -> Any:
        whole = NuScenesScenes(self, on_bad_sample)
        return whole.without(whole.tokens[1:])


@dataclass(frozen=True)
class Other:
    """Opens as nothing that official scores know."""

    root: str = ""

    def open(self, on_bad_sample: Any) -> Any:
        return [1, 2]


@dataclass(frozen=True)
class Energy:
    """Joules a frame, as if a GFLOP took half of one."""

    metric: ClassVar[Metric] = Metric(direction="min", worst=10.0, best=0.0, unit="J")

    def value(self, metrics: Mapping[str, float]) -> float:
        return 0.5 * metrics["GFLOPs"]
