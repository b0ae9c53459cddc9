"""Every layer as three bars: weights removed, score mass removed, MACs before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sparsefront.search.reports.trial_page.layers import LayerRow

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Of Okabe and Ito's palette, by modality."""


def draw_layers(rows: Sequence[LayerRow], title: str) -> Any:
    """A matplotlib figure, layers from left to right in the order of the model."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    modalities = list(dict.fromkeys(row.modality for row in rows))
    colours = dict(zip(modalities, COLOURS, strict=False))
    each = [colours.get(row.modality, "#6b7280") for row in rows]
    at = np.arange(len(rows))
    figure = Figure(figsize=(min(16.0, max(8.0, 0.2 * len(rows))), 7.2), layout="constrained")
    axes: Any = figure.subplots(3, 1, sharex=True)
    axes[0].bar(at, [100 * row.removed for row in rows], color=each)
    axes[0].set_ylabel("weights removed, %")
    axes[1].bar(at, [100 * (row.mass_removed or 0.0) for row in rows], color=each)
    axes[1].set_ylabel("score mass removed, %")
    axes[2].bar(at, [row.macs_dense / 1e6 for row in rows], color=each, alpha=0.25)
    axes[2].bar(at, [row.macs / 1e6 for row in rows], color=each)
    axes[2].set_ylabel("MMACs a frame")
    for axis in axes[:2]:
        axis.set_ylim(0, 100)
    for axis in axes:
        axis.grid(axis="y", alpha=0.25)
        axis.set_axisbelow(True)
        axis.margins(x=0.01)
    _name_stages(axes, rows)
    handles = [Patch(color=colours.get(m, "#6b7280"), label=m) for m in modalities]
    handles.append(Patch(color="#6b7280", alpha=0.25, label="dense MACs"))
    axes[0].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def _name_stages(axes: Any, rows: Sequence[LayerRow]) -> None:
    """A line where a stage begins, and its name below."""
    stages = [row.stage for row in rows]
    starts = [i for i, stage in enumerate(stages) if i == 0 or stage != stages[i - 1]]
    for axis in axes:
        for start in starts[1:]:
            axis.axvline(start - 0.5, lw=0.8, color="#9ca3af")
    ends = [*starts[1:], len(rows)]
    axes[-1].set_xticks([(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)])
    labels = [stages[start].replace(".", "\n", 1) for start in starts]
    axes[-1].set_xticklabels(labels, fontsize=8)
