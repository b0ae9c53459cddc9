"""Projections that say nearly what the checkpoint's own fuser says, before any training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsefront.models.checkpoint.other_fuser import fuser_of
from sparsefront.models.fuser import AddFuser, convolution_and_norm
from sparsefront.models.fusion_model import FusionModel
from sparsefront.scenes.batch import SensorBatch

TRUST = 1e-4
"""Weight of the summed kernel, relative to the maps' mean square: decides where maps are zero."""


@torch.no_grad()
def fitted_projections(
    fuser: AddFuser, trained: FusionModel, batches: Iterable[SensorBatch]
) -> dict[str, Tensor]:
    """Entries of the fuser's state dict: the 1x1 projections P nearest to the 3x3 convolution K of
    the trained model's concat, over all cells of the batches.

    min over P of sum_cells |P x - K * x|^2 + trust |P - sum_positions K|^2, in closed form (least
    squares over a layer's output, as He et al., ICCV 2017, refit a layer whose inputs were cut).
    """
    joined = fuser_of(trained)
    assert joined is not None
    kernel, _ = convolution_and_norm(joined.state_dict())
    start = kernel.sum((2, 3)).double().cpu()  # [C, sum C_i]
    squares = torch.zeros(start.shape[1], start.shape[1], dtype=torch.float64)
    wanted = torch.zeros(start.shape[1], start.shape[0], dtype=torch.float64)
    trained.eval()
    for batch in batches:
        features = trained.features(batch)
        x = torch.cat([features[name] for name in fuser.project], dim=1)
        rows = _cells(x)
        squares += (rows.T @ rows).cpu()
        wanted += (rows.T @ _cells(F.conv2d(x, kernel, padding=1))).cpu()
    trust = TRUST * squares.diagonal().mean().clamp(min=1e-12)
    squares.diagonal().add_(trust)
    found = torch.linalg.solve(squares, wanted + trust * start.T).T
    return fuser.projections(found.to(kernel.dtype))


def _cells(maps: Tensor) -> Tensor:
    """[B, C, X, Y] -> float64 [B * X * Y, C]"""
    return maps.movedim(1, -1).flatten(0, -2).double()
