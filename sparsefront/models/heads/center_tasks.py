"""CenterPoint head (Yin et al., CVPR 2021) as in the published BEVFusion: classes in six tasks,
each with its heat map, regressions and suppression. Boxes are in the published convention.

Shape legend: B frames, C channels, T tasks, X x Y cells (x slow), K boxes, M targets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sparsefront.models.conv_norm import conv2d_norm
from sparsefront.models.heads.deform_conv import DeformConv
from sparsefront.models.heads.nms import circle_nms, rotated_nms
from sparsefront.models.heads.transfusion import BoxCoder
from sparsefront.models.heads.transfusion_loss import class_heatmap, heatmap_loss
from sparsefront.models.precision import at_least_float32

REGRESSIONS = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
REGRESSION_WEIGHT = 0.25
SCORE_THRESHOLD, MAX_PEAKS, MAX_BOXES, BEFORE_NMS, OVERLAP = 0.1, 500, 83, 1000, 0.2
"""Of the published configuration: 83 boxes a task are about 500 a frame over six tasks."""


@dataclass(frozen=True, kw_only=True)
class HeadTask:
    """Classes that one branch tells apart; how their boxes suppress each other: by the squared
    distance `circle`, or by rotated overlap of boxes whose sides are scaled by `scales`.
    """

    classes: tuple[int, ...]
    circle: float | None = None
    scales: tuple[float, ...] = ()


CIRCLES = (4.0, 12.0, 10.0, 1.0, 0.85, 0.175)
TASKS = (
    HeadTask(classes=(0,), circle=4.0),
    HeadTask(classes=(1, 2), scales=(1.0, 1.0)),
    HeadTask(classes=(3, 4), scales=(1.0, 1.0)),
    HeadTask(classes=(5,), circle=1.0),
    HeadTask(classes=(6, 7), scales=(1.0, 1.0)),
    HeadTask(classes=(8, 9), scales=(2.5, 4.0)),
)

CIRCLE_TASKS = tuple(replace(t, circle=c) for t, c in zip(TASKS, CIRCLES, strict=True))
"""The same tasks, all suppressed by distance (ADLab's BEVFusion)."""


class TaskHead(nn.ModuleDict):
    """Two 3 x 3 convolutions for each output of a size."""

    def __init__(self, channels: int, sizes: dict[str, int]) -> None:
        super().__init__()
        for name, size in sizes.items():
            last = nn.Conv2d(channels, size, 3, padding=1)
            self[name] = nn.Sequential(conv2d_norm(channels, channels, 3), last)
            if name == "heatmap":
                assert last.bias is not None
                nn.init.constant_(last.bias, -2.19)  # prior probability of 0.1

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: branch(x) for name, branch in self.items()}


class AdaptedTaskHead(nn.Module):
    """Two deformable convolutions, one for the heat map and one for the rest, then the same."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.feature_adapt_cls = DeformConv(channels, channels, 3, groups=4)
        self.feature_adapt_reg = DeformConv(channels, channels, 3, groups=4)
        last = nn.Conv2d(channels, classes, 3, padding=1)
        assert last.bias is not None
        nn.init.constant_(last.bias, -2.19)
        self.cls_head = nn.Sequential(conv2d_norm(channels, channels, 3), last)
        self.task_head = TaskHead(channels, REGRESSIONS)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = self.task_head(self.feature_adapt_reg(x))
        return {**found, "heatmap": self.cls_head(self.feature_adapt_cls(x))}


class CenterTasksHead(nn.Module):
    """Outputs by name, task<t>.<parameter> [B, *, X, Y]: reg (offset in cells), height, dim (log),
    rot (sine, cosine), vel, heatmap (logits).
    """

    def __init__(
        self, channels_in: int, channels: int, coder: BoxCoder, velocity_weight: float = 0.2,
        tasks: tuple[HeadTask, ...] = TASKS, adapts: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.coder, self.velocity_weight, self.tasks = coder, velocity_weight, tasks
        self.shared_conv = conv2d_norm(channels_in, channels, 3)
        self.task_heads = nn.ModuleList(
            AdaptedTaskHead(channels, len(t.classes))
            if adapts
            else TaskHead(channels, {**REGRESSIONS, "heatmap": len(t.classes)})
            for t in tasks
        )

    def forward(self, bev: Tensor) -> dict[str, Tensor]:
        shared = self.shared_conv(bev)
        found = {}
        for t, head in enumerate(self.task_heads):
            found.update({f"task{t}.{name}": x for name, x in head(shared).items()})
        return found

    def last_weights(self, prefix: str) -> frozenset[str]:
        """Names of the weights of every last layer."""
        found = []
        for name, module in self.task_heads.named_modules():
            if isinstance(module, nn.Conv2d) and name.endswith(".1"):
                found.append(f"{prefix}.task_heads.{name}.weight")
        return frozenset(found)

    def losses(
        self, outputs: dict[str, Tensor], boxes: list[Tensor], labels: list[Tensor]
    ) -> dict[str, Tensor]:
        """heatmap and box loss of each task; boxes [M, 9] and labels [M] of each frame."""
        found = {}
        for t, task in enumerate(self.tasks):
            own = select_task(outputs, t)
            goals = [
                self._goal(b, x, task, own["heatmap"].shape[1:])
                for b, x in zip(boxes, labels, strict=True)
            ]
            heat = torch.stack([goal.heat for goal in goals])
            found[f"heatmap/task{t}"] = heatmap_loss(at_least_float32(own["heatmap"]), heat)
            found[f"bbox/task{t}"] = self._box_loss(own, goals)
        return found

    @torch.no_grad()
    def decode(self, outputs: dict[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Boxes [K, 9], scores and labels of each frame, best first in each task, after
        suppression; z is the true centre's.
        """
        frames = []
        for frame in range(len(outputs["task0.reg"])):
            found = []
            for t, task in enumerate(self.tasks):
                boxes, scores, kind = self.peaks(select_task(outputs, t), frame)
                kept = suppress(boxes, scores, kind, task)
                classes = torch.tensor(task.classes, device=kind.device)
                boxes = boxes[kept]
                if self.coder.height == "top":
                    boxes[:, 2] -= boxes[:, 5] * 0.5
                found.append((boxes, scores[kept], classes[kind[kept]]))
            boxes, scores, kinds = (torch.cat(parts) for parts in zip(*found, strict=True))
            frames.append((boxes, scores, kinds))
        return frames

    def peaks(self, own: dict[str, Tensor], frame: int) -> tuple[Tensor, Tensor, Tensor]:
        """The highest cells of a task as boxes [K, 9] (z as predicted), scores and class in the
        task; before suppression, above the score threshold and within the limits.
        """
        heat = at_least_float32(own["heatmap"][frame]).sigmoid().flatten(1)  # [classes, X Y]
        most = min(MAX_PEAKS, heat.shape[1])
        scores, place = heat.topk(most, dim=1)
        scores, at = scores.flatten().topk(most)
        kind, place = at // most, place.flatten()[at]
        columns = own["heatmap"].shape[3]
        value = {n: at_least_float32(own[n][frame]).flatten(1)[:, place] for n in REGRESSIONS}
        x = (place // columns + value["reg"][0]) * self.coder.step_m[0] + self.coder.lower_m[0]
        y = (place % columns + value["reg"][1]) * self.coder.step_m[1] + self.coder.lower_m[1]
        yaw = torch.atan2(value["rot"][0], value["rot"][1])
        boxes = torch.stack(
            [x, y, value["height"][0], *value["dim"].exp(), yaw, *value["vel"]], dim=1
        )
        limit = boxes.new_tensor(self.coder.limit_m)
        kept = (scores > SCORE_THRESHOLD) & (boxes[:, :3].abs() <= limit).all(1)
        return boxes[kept], scores[kept], kind[kept]

    def _goal(self, boxes: Tensor, labels: Tensor, task: HeadTask, shape: torch.Size) -> _Goal:
        """Targets of a task in a frame; the heat map's size is `shape` (classes, X, Y)."""
        chosen = [(labels == c).nonzero().flatten() for c in task.classes]
        order = torch.cat(chosen)
        kind = torch.cat([torch.full_like(rows, k) for k, rows in enumerate(chosen)])
        boxes = boxes[order]
        encoded = self.coder.encode(boxes)
        cell = encoded[:, :2].int().long()  # toward zero, as published
        limit = torch.tensor(shape[1:], device=cell.device)
        inside = ((cell >= 0) & (cell < limit)).all(1) & (boxes[:, 3:5] > 0).all(1)
        boxes, kind, encoded, cell = boxes[inside], kind[inside], encoded[inside], cell[inside]
        heat = class_heatmap(boxes, kind, self.coder, (shape[0], shape[1], shape[2]))
        values = torch.cat([encoded[:, :2] - cell, encoded[:, 2:]], dim=1)
        return _Goal(heat, cell[:, 0] * shape[2] + cell[:, 1], values)

    def _box_loss(self, own: dict[str, Tensor], goals: list[_Goal]) -> Tensor:
        maps = torch.cat([at_least_float32(own[n]) for n in REGRESSIONS], dim=1).flatten(2)
        found = torch.cat([m[:, goal.place].T for m, goal in zip(maps, goals, strict=True)])
        wanted = torch.cat([goal.values for goal in goals])
        weights = wanted.new_tensor([1.0] * 8 + [self.velocity_weight] * 2) * ~wanted.isnan()
        error = (found - wanted.nan_to_num()).abs() * weights
        return REGRESSION_WEIGHT * error.sum() / (len(wanted) + 1e-4)


@dataclass(frozen=True)
class _Goal:
    """heat [classes, X, Y]; of each box its flat cell [M] and its values [M, 10]."""

    heat: Tensor
    place: Tensor
    values: Tensor


def select_task(outputs: dict[str, Tensor], task: int) -> dict[str, Tensor]:
    prefix = f"task{task}."
    return {n.removeprefix(prefix): v for n, v in outputs.items() if n.startswith(prefix)}


def suppress(boxes: Tensor, scores: Tensor, kind: Tensor, task: HeadTask) -> Tensor:
    """Suppresses boxes as the task does; the numbers of those that stay, best first."""
    if task.circle is not None:
        return circle_nms(boxes[:, :2], scores, task.circle, MAX_BOXES)
    flat = boxes[:, [0, 1, 3, 4, 6]].clone()
    flat[:, 2:4] *= flat.new_tensor(task.scales)[kind].unsqueeze(1)
    return rotated_nms(flat, scores, OVERLAP, BEFORE_NMS, MAX_BOXES)
