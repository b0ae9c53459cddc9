"""Handwritten digits: a small CNN, scikit-learn's 1,797 images of 8 x 8 pixels, its accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from sparsefront import Metric, ModalityGroups


@dataclass(frozen=True)
class Digits:
    """width: channels of the first convolution; the others have twice and four times as many."""

    width: int = 32
    metrics: ClassVar[Mapping[str, Metric]] = {"accuracy": Metric(worst=0.1)}

    def build(self) -> nn.Module:
        return cnn(self.width)

    def groups(self, model: nn.Module) -> ModalityGroups:
        """One group: a plain network has no modalities."""
        return ModalityGroups({"network": tuple(name for name, _ in model.named_children())})

    def training_batches(self, seed: int) -> Iterable[Any]:
        images, labels = split()[0]
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
        return [(images[chosen], labels[chosen]) for chosen in order.split(32)]

    def evaluation_batches(self, share: float) -> Sequence[Any]:
        """Costs and latency are those of a forward pass of 64 images."""
        images, labels = self._evaluated(share)
        return list(zip(images.split(64), labels.split(64), strict=True))

    def forward(self, model: nn.Module, batch: Any) -> Tensor:
        scores: Tensor = model(batch[0])
        return scores

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    def evaluate(self, model: nn.Module, share: float, device: str) -> Mapping[str, float]:
        images, labels = (part.to(device) for part in self._evaluated(share))
        return {"accuracy": float((model(images).argmax(1) == labels).double().mean())}

    def _evaluated(self, share: float) -> tuple[Tensor, Tensor]:
        images, labels = split()[1]
        count = max(1, round(share * len(labels)))
        return images[:count], labels[:count]


def cnn(width: int) -> nn.Module:
    """Four convolutions and a linear layer, whose ten outputs stay."""
    model = nn.Sequential()
    sizes = [1, width, 2 * width, 2 * width, 4 * width]
    for at, (before, after) in enumerate(pairwise(sizes)):
        stride = 2 if at in (1, 3) else 1
        model.add_module(f"conv{at}", nn.Conv2d(before, after, 3, stride, 1, bias=False))
        model.add_module(f"norm{at}", nn.BatchNorm2d(after))
        model.add_module(f"relu{at}", nn.ReLU())
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flat", nn.Flatten())
    model.add_module("head", nn.Linear(sizes[-1], 10))
    return model


@cache
def split() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Images [N, 1, 8, 8] in 0..1 and labels [N]: two thirds to train on, one to evaluate."""
    found = load_digits()
    images = torch.from_numpy(found.images).float()[:, None] / 16
    labels = torch.from_numpy(found.target).long()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
    train, val = order[:1200], order[1200:]
    return (images[train], labels[train]), (images[val], labels[val])
