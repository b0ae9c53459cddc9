"""BEV feature maps of each modality before and after pruning, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Features = Callable[[Any, Any], Mapping[str, Tensor]]

BRIGHTEST = 99.5
"""Percentile of the dense map that is drawn brightest, so that one cell does not dim all others."""


@torch.inference_mode()
def magnitudes(
    features_of: Features, model: nn.Module, batch: Any
) -> dict[str, NDArray[np.float32]]:
    """Of each modality's map of the first frame the absolute activation: of maps [B, C, X, Y] its
    mean over channels [X, Y], of sequences [B, C, L] all [C, L], of vectors [B, C] one row.
    """
    found = {}
    for name, feature in features_of(model, batch).items():
        first = feature[0].abs().float().cpu()
        if first.ndim == 3:
            first = first.mean(0)
        if first.ndim in (1, 2):
            found[name] = torch.atleast_2d(first).numpy()
    return found


def draw_features(
    dense: Mapping[str, NDArray[np.float32]], pruned: Mapping[str, NDArray[np.float32]], token: str
) -> Any:
    """A matplotlib figure: a row a modality, columns dense, pruned, and what changed; dense and
    pruned on one scale.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.1 * len(dense) + 0.5), layout="constrained")
    axes: Any = figure.subplots(len(dense), 3, squeeze=False)
    for row, (name, before) in zip(axes, dense.items(), strict=True):
        after = pruned[name]
        top = float(np.percentile(before, BRIGHTEST)) or 1.0
        change = after - before
        reach = float(np.percentile(np.abs(change), BRIGHTEST)) or 1.0
        _map(figure, row[0], before, f"{name}, dense", cmap="viridis", vmin=0.0, vmax=top)
        _map(figure, row[1], after, f"{name}, pruned", cmap="viridis", vmin=0.0, vmax=top)
        _map(figure, row[2], change, f"{name}, change", cmap="PuOr_r", vmin=-reach, vmax=reach)
    figure.suptitle(
        f"Mean absolute activation of each modality's map, frame {token[:18]}",
        fontsize=10,
    )
    return figure


def _map(figure: Any, axis: Any, values: NDArray[np.float32], title: str, **scale: Any) -> None:
    shown = axis.imshow(values.T, origin="lower", interpolation="nearest", **scale)
    axis.set_title(title, fontsize=10)
    axis.set_xticks([])
    axis.set_yticks([])
    figure.colorbar(shown, ax=axis, shrink=0.85).ax.tick_params(labelsize=7)
