"""Boxes of the dense and the pruned model over the labels, in the cameras and from above."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsefront.scenes.batch import Detections, SensorBatch
from sparsefront.scenes.geometry import Array, box_corners
from sparsefront.scenes.loading.images import IMAGENET_MEAN, IMAGENET_STD

COLOURS = {"label": "#009e73", "dense": "#0072b2", "pruned": "#d55e00"}
"""Of Okabe and Ito's palette, told apart by colour-blind eyes."""
STYLES = {"label": "-", "dense": "-", "pruned": "--"}
EDGES = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4),
         (0, 4), (1, 5), (2, 6), (3, 7)]  # fmt: skip
NEAR_M = 0.5
"""Edges are cut at this depth: nearer, a projection flies off."""
HALF_SIDE_M = 52.0


def boxes_of(batch: SensorBatch, found: Mapping[str, Detections], least: float) -> dict[str, Array]:
    """[M, 9] of the labels and of each model's boxes that score at least `least`."""
    shown = {name: d.boxes[d.scores >= least].double().cpu().numpy() for name, d in found.items()}
    return {"label": batch.targets[0].boxes.double().cpu().numpy(), **shown}


def draw_detections(batch: SensorBatch, boxes: Mapping[str, Array], title: str) -> Any:
    """A matplotlib figure of the first frame: its cameras, three a row, and the view from above."""
    from matplotlib.figure import Figure

    cameras = batch.images.shape[1]
    height, width = batch.images.shape[-2:]
    columns = min(3, cameras)
    rows = -(-cameras // columns)
    each = 4.2
    tall = each * height / width * rows
    figure = Figure(figsize=(each * columns, tall + 7.4), layout="constrained")
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[*[tall / rows] * rows, 6.6])
    for camera in range(cameras):
        axis = figure.add_subplot(grid[camera // columns, camera % columns])
        _draw_camera(axis, batch, camera, boxes)
    _draw_from_above(figure.add_subplot(grid[rows, :]), batch, boxes)
    figure.suptitle(title, fontsize=11)
    return figure


def edges_in_camera(corners: Array, matrix: Array) -> Iterator[Array]:
    """Pixels [2, 2] of the ends of each edge of boxes [M, 8, 3], cut where it comes too near."""
    ends = np.concatenate([corners, np.ones((*corners.shape[:2], 1))], axis=2) @ matrix.T
    for box in ends:
        for first, second in EDGES:
            a, b = box[first], box[second]
            if max(a[2], b[2]) <= NEAR_M:
                continue
            if a[2] < NEAR_M:
                a = _cut(a, b)
            elif b[2] < NEAR_M:
                b = _cut(b, a)
            yield np.stack([a[:2] / a[2], b[:2] / b[2]])


def _cut(behind: Array, before: Array) -> Array:
    share = (NEAR_M - behind[2]) / (before[2] - behind[2])
    out: Array = behind + share * (before - behind)
    return out


def _draw_camera(axis: Any, batch: SensorBatch, camera: int, boxes: Mapping[str, Array]) -> None:
    from matplotlib.collections import LineCollection

    image = _picture(batch.images[0, camera].float().cpu().numpy())
    axis.imshow(image)
    matrix = batch.lidar_to_image[0, camera].double().cpu().numpy()
    for name, found in boxes.items():
        lines = list(edges_in_camera(box_corners(found), matrix))
        axis.add_collection(
            LineCollection(lines, colors=COLOURS[name], linestyles=STYLES[name], linewidths=1.0)
        )
    axis.set_xlim(0, image.shape[1])
    axis.set_ylim(image.shape[0], 0)
    axis.axis("off")


def _draw_from_above(axis: Any, batch: SensorBatch, boxes: Mapping[str, Array]) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    points = batch.points[0][:, :2].float().cpu().numpy()
    axis.scatter(points[:, 0], points[:, 1], s=0.2, color="#9ca3af", linewidths=0)
    for name, found in boxes.items():
        outlines = box_corners(found)[:, [0, 1, 2, 3, 0], :2]
        axis.add_collection(
            LineCollection(
                list(outlines), colors=COLOURS[name], linestyles=STYLES[name], linewidths=1.3
            )
        )
    handles = [
        Line2D([], [], color=COLOURS[n], ls=STYLES[n], label=f"{n} ({len(found)})")
        for n, found in boxes.items()
    ]
    axis.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9)
    axis.set_xlim(-HALF_SIDE_M, HALF_SIDE_M)
    axis.set_ylim(-HALF_SIDE_M, HALF_SIDE_M)
    axis.set_aspect("equal")
    axis.set_xlabel("x, m (right)")
    axis.set_ylabel("y, m (forward)")


def _picture(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """[H, W, 3] in 0..1 of a normalised image [3, H, W]."""
    shown: NDArray[np.float32] = image.transpose(1, 2, 0) * IMAGENET_STD + IMAGENET_MEAN
    return np.clip(shown, 0.0, 1.0)
