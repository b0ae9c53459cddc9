"""Pruning by torch.nn.utils.prune and brief fine-tuning under its masks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import count, islice

import torch
from spconv.pytorch.conv import SparseConvolution
from torch import nn
from torch.nn.utils import clip_grad_norm_, prune

from benchmarks.by_hand.task import MODALITIES, Task
from sparsefront.models.fusion_model import FusionModel
from sparsefront.scenes.batch import SensorBatch
from sparsefront.scenes.loader import Loader
from sparsefront.scenes.nuscenes import NuScenesScenes

LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear, SparseConvolution)


def prune_model(model: FusionModel, sparsity: Mapping[str, float]) -> None:
    """The smallest weights of each modality go, by one threshold a modality."""
    for modality in MODALITIES:
        prune.global_unstructured(
            [(layer, "weight") for layer in prunable_layers(model, modality)],
            pruning_method=prune.L1Unstructured,
            amount=sparsity[modality],
        )


def prunable_layers(model: FusionModel, modality: str) -> list[nn.Module]:
    """Layers of a modality that have weights, less the last ones of the head."""
    last = model.unprunable()
    return [
        layer
        for name, layer in model.named_modules()
        if isinstance(layer, LAYERS)
        and name.split(".")[0] == modality
        and f"{name}.weight" not in last
    ]


def make_permanent(model: FusionModel) -> None:
    """The masks multiplied into the weights, under their own names again."""
    for layer in model.modules():
        if isinstance(layer, LAYERS) and prune.is_pruned(layer):
            prune.remove(layer, "weight")


def fine_tune(model: FusionModel, scenes: NuScenesScenes, task: Task) -> None:
    """A few steps of AdamW, the rate warmed up and then down a cosine."""
    loader = Loader(
        scenes, task.image, None, task.batch_size, shuffle=True, seed=task.seed,
        drop_last=len(scenes.tokens) >= task.batch_size,
    )  # fmt: skip
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": task.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=task.lr,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, task))
    model.train()
    for batch in islice(epochs(loader), task.steps):
        optimizer.zero_grad(set_to_none=True)
        model.loss(batch).backward()
        clip_grad_norm_(model.parameters(), task.clip)
        optimizer.step()
        scheduler.step()
    model.eval()


def measure_norms(model: FusionModel, scenes: NuScenesScenes, task: Task) -> None:
    """Running statistics as plain averages over some training frames."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    loader = Loader(scenes, task.image, None, task.batch_size, shuffle=True, seed=task.seed)
    with torch.no_grad():
        for batch in islice(loader, task.norm_frames // task.batch_size):
            model(batch)
    model.eval()


def rate(step: int, task: Task) -> float:
    """Factor of the learning rate."""
    if step < task.warmup:
        return (step + 1) / (task.warmup + 1)
    return (1 + math.cos(math.pi * (step - task.warmup) / (task.steps - task.warmup))) / 2


def epochs(loader: Loader) -> Iterator[SensorBatch]:
    for _ in count():
        yield from loader
