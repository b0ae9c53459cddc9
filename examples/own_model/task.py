"""What sparsefront needs to know of this repository."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from datasets.objects import drawn
from models.two_branch import TwoBranch
from torch import Tensor, nn
from utils.losses import loss_of

from sparsefront import Metric


@dataclass(frozen=True)
class Objects:
    """width of the model; frames to train and to evaluate on."""

    width: int = 16
    train_frames: int = 2000
    val_frames: int = 500
    metrics: ClassVar[Mapping[str, Metric]] = {
        "accuracy": Metric(worst=0.25),
        "distance_error_m": Metric(direction="min", worst=9.0, best=0.0, unit="m"),
    }

    def build(self) -> nn.Module:
        return TwoBranch(self.width)

    def training_batches(self, seed: int) -> Iterable[Any]:
        order = np.random.default_rng(seed).permutation(self.train_frames)
        data = drawn("train", self.train_frames)
        for start in range(0, self.train_frames, 32):
            yield rows(data, order[start : start + 32].tolist())

    def evaluation_batches(self, share: float) -> Sequence[Any]:
        """One frame each, so that costs are those of a frame."""
        data = drawn("val", self.val_frames)
        count = max(1, round(share * self.val_frames))
        return [rows(data, [at]) for at in range(count)]

    def forward(self, model: nn.Module, batch: Any) -> Any:
        return model(batch["image"], batch["radar"])

    def features(self, model: Any, batch: Any) -> Mapping[str, Tensor]:
        """What each branch hands on, for CrossPrune and to learn from the dense model."""
        camera, radar = model.camera(batch["image"]), model.radar(batch["radar"])
        return {"camera": camera, "radar": radar}

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return loss_of(model, batch)

    def evaluate(self, model: nn.Module, share: float, device: str) -> Mapping[str, float]:
        count = max(1, round(share * self.val_frames))
        data = rows(drawn("val", self.val_frames), list(range(count)))
        label = data["label"]
        scores, distance = model(data["image"].to(device), data["radar"].to(device))
        right = scores.argmax(1).cpu() == label["kind"]
        off = (distance.cpu() - label["distance_m"]).abs()
        return {
            "accuracy": float(right.double().mean()),
            "distance_error_m": float(off.double().mean()),
        }


def rows(data: Mapping[str, Any], chosen: list[int]) -> dict[str, Any]:
    """Some frames of the data: a nested mapping of tensors and words."""
    at = torch.tensor(chosen)
    return {
        "image": data["image"][at],
        "radar": data["radar"][at],
        "label": {name: value[at] for name, value in data["label"].items()},
        "name": [data["name"][i] for i in chosen],
    }
