"""A task of somebody's own: three modalities, nested batches with words, an error to minimise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sparsefront import Metric
from sparsefront.pruning.criteria.criterion import CriterionBase
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import prunable_weights

FRAMES = 12


class Senses(nn.Module):
    """Image [B, 2, 8, 8], sound [B, 1, 16] and touch [B, 6] -> two numbers [B, 2]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sight = nn.Sequential(
            nn.Conv2d(2, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        self.hearing = nn.Sequential(nn.Conv1d(1, width, 3, padding=1), nn.ReLU())
        self.touch = nn.Sequential(nn.Linear(6, width), nn.ReLU())
        self.joint = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.ReLU())
        self.out = nn.Linear(2 * width, 2)

    def maps(self, image: Tensor, sound: Tensor, touch: Tensor) -> dict[str, Tensor]:
        return {
            "sight": self.sight(image).mean((2, 3)),
            "hearing": self.hearing(sound).mean(2),
            "touch": self.touch(touch),
        }

    def forward(self, image: Tensor, sound: Tensor, touch: Tensor) -> Tensor:
        found: Tensor = self.out(
            self.joint(torch.cat(list(self.maps(image, sound, touch).values()), 1))
        )
        return found


@dataclass(frozen=True)
class Guess:
    """root is where data would be."""

    width: int = 8
    root: Path = Path()
    metrics: ClassVar[Mapping[str, Metric]] = {
        "error": Metric(direction="min", worst=4.0, best=0.0)
    }

    def build(self) -> nn.Module:
        return Senses(self.width)

    def training_batches(self, seed: int) -> Iterable[Any]:
        return [batch(seed * 100 + at, 4) for at in range(3)]

    def evaluation_batches(self, share: float) -> Sequence[Any]:
        return [batch(9000 + at, 1) for at in range(max(1, round(share * FRAMES)))]

    def forward(self, model: nn.Module, batch: Any) -> Any:
        return model(batch["see"]["image"], batch["hear"], batch["feel"][0])

    def features(self, model: Any, batch: Any) -> Mapping[str, Tensor]:
        found: Mapping[str, Tensor] = model.maps(
            batch["see"]["image"], batch["hear"], batch["feel"][0]
        )
        return found

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        difference: Tensor = self.forward(model, batch) - batch["answer"]
        return difference.square().mean()

    def evaluate(self, model: nn.Module, share: float, device: str) -> Mapping[str, float]:
        batches = self.evaluation_batches(share)
        errors = [self.loss(model, self.to(batch, device)) for batch in batches]
        return {"error": float(torch.stack(errors).mean())}

    def to(self, batch: Any, device: str) -> Any:
        from sparsefront.search.tasks.nested import moved

        return moved(batch, device)


def batch(seed: int, frames: int) -> dict[str, Any]:
    """A nested mapping of tensors and words."""
    random = torch.Generator().manual_seed(seed)
    image = torch.randn(frames, 2, 8, 8, generator=random)
    sound = torch.randn(frames, 1, 16, generator=random)
    touch = torch.randn(frames, 6, generator=random)
    answer = torch.stack([image.mean((1, 2, 3)) + touch[:, 0], sound.mean((1, 2))], 1)
    return {
        "see": {"image": image, "camera": "front"},
        "hear": sound,
        "feel": (touch, ["left", "right"]),
        "answer": answer,
        "name": f"frame {seed}",
    }


@dataclass(frozen=True)
class Silent(Guess):
    """Without features."""

    features = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Nan(Guess):
    """Measures nothing that can be ranked."""

    def evaluate(self, model: nn.Module, share: float, device: str) -> Mapping[str, float]:
        return {"error": float("nan")}


@dataclass(frozen=True)
class Smallest(CriterionBase):
    """|w|^power, a criterion of somebody's own."""

    power: float = 1.0
    uses_batches: ClassVar[bool] = False

    def statistics(self, model: Any, groups: Any, batches: Any, loss: Any) -> Any:
        return {"size": {n: w.detach().abs() for n, w in prunable_weights(model).items()}}

    def combine(self, statistics: Any, groups: Any) -> ImportanceScores:
        return ImportanceScores({n: s**self.power for n, s in statistics["size"].items()})
