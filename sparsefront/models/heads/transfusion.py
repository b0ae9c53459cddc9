"""TransFusion head (Bai et al., CVPR 2022) as in the published BEVFusion: queries at the peaks of a
class heat map, one transformer decoder layer, one feed-forward head a box parameter.

Shape legend: B frames, C channels, K classes, Q queries, X x Y cells (x slow), P = X Y positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsefront.models.conv_norm import conv1d_norm, conv2d_norm
from sparsefront.models.precision import at_least_float32, full_precision

REGRESSIONS = {"center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
POINT_LIKE = (8, 9)
"""Pedestrian and traffic cone: no suppression between neighbouring cells."""
Best = Callable[[Tensor, int], Tensor]
"""Scores [B, M] and a count -> places of the highest, best first."""


@dataclass(frozen=True, kw_only=True)
class BoxCoder:
    """Cells to metres: a centre in cells times `step_m` plus `lower_m`. `height` says what the
    network predicts: the top of a box or its centre.
    """

    step_m: tuple[float, float] = (0.6, 0.6)
    lower_m: tuple[float, float] = (-54.0, -54.0)
    limit_m: tuple[float, float, float] = (61.2, 61.2, 10.0)
    height: Literal["top", "centre"] = "top"

    def decode(self, outputs: dict[str, Tensor]) -> Tensor:
        """Head outputs [B, *, Q] -> boxes [B, Q, 9]: x, y, z of the centre, sides, yaw, velocity,
        sides and yaw as the network has them.
        """
        center, size = outputs["center"], outputs["dim"].exp()
        x = center[:, :1] * self.step_m[0] + self.lower_m[0]
        y = center[:, 1:] * self.step_m[1] + self.lower_m[1]
        z = outputs["height"]
        if self.height == "top":
            z = z - size[:, 2:] * 0.5
        yaw = torch.atan2(outputs["rot"][:, :1], outputs["rot"][:, 1:])
        return torch.cat([x, y, z, size, yaw, outputs["vel"]], dim=1).transpose(1, 2)

    def encode(self, boxes: Tensor) -> Tensor:
        """Boxes [M, 9] as `decode` gives them -> targets [M, 10]: centre in cells, height, log
        size, sine and cosine of yaw, velocity.
        """
        x = (boxes[:, 0] - self.lower_m[0]) / self.step_m[0]
        y = (boxes[:, 1] - self.lower_m[1]) / self.step_m[1]
        z = boxes[:, 2]
        if self.height == "top":
            z = z + boxes[:, 5] * 0.5
        rest = [boxes[:, 3:6].log(), boxes[:, 6:7].sin(), boxes[:, 6:7].cos(), boxes[:, 7:9]]
        return torch.cat([torch.stack([x, y, z], dim=1), *rest], dim=1)


class PositionEmbedding(nn.Module):
    """Positions in cells, [B, Q, 2], to features [B, C, Q]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.position_embedding_head = nn.Sequential(
            nn.Conv1d(2, channels, 1), nn.BatchNorm1d(channels), nn.ReLU(),
            nn.Conv1d(channels, channels, 1),
        )  # fmt: skip

    @full_precision
    def forward(self, positions: Tensor) -> Tensor:
        out: Tensor = self.position_embedding_head(positions.transpose(1, 2).contiguous())
        return out


class DecoderLayer(nn.Module):
    """Self-attention among queries, cross-attention to the map (values carry positions too)."""

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(channels, heads, dropout)
        self.multihead_attn = nn.MultiheadAttention(channels, heads, dropout)
        self.linear1, self.linear2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)
        self.self_posembed = PositionEmbedding(channels)
        self.cross_posembed = PositionEmbedding(channels)

    def forward(
        self, query: Tensor, key: Tensor, query_position: Tensor, key_position: Tensor
    ) -> Tensor:
        """query [B, C, Q], key [B, C, P], positions [B, Q | P, 2] -> [B, C, Q]"""
        at_query = self.self_posembed(query_position).permute(2, 0, 1)
        at_key = self.cross_posembed(key_position).permute(2, 0, 1)
        x, memory = query.permute(2, 0, 1), key.permute(2, 0, 1) + at_key
        placed = x + at_query
        mixed = self.self_attn(placed, placed, placed, need_weights=False)[0]
        x = self.norm1(x + self.dropout(mixed))
        mixed = self.multihead_attn(x + at_query, memory, memory, need_weights=False)[0]
        x = self.norm2(x + self.dropout(mixed))
        mixed = self.linear2(self.dropout(self.linear1(x).relu()))
        out: Tensor = self.norm3(x + self.dropout(mixed)).permute(1, 2, 0)
        return out


class PredictionHead(nn.ModuleDict):
    """Two 1-wide convolutions for each box parameter and for the class scores."""

    def __init__(self, channels: int, hidden: int, classes: int) -> None:
        super().__init__(
            {
                name: nn.Sequential(conv1d_norm(channels, hidden), nn.Conv1d(hidden, size, 1))
                for name, size in {**REGRESSIONS, "heatmap": classes}.items()
            }
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """[B, C, Q] -> each [B, size, Q]"""
        return {name: head(x) for name, head in self.items()}


class TransFusionHead(nn.Module):
    """Outputs by name: center (cells), height, dim (log), rot, vel, heatmap (logits) [B, *, Q];
    query_heatmap_score [B, K, Q]; dense_heatmap (logits) [B, K, X, Y]; proposal_class and
    proposal_index [B, Q].
    """

    def __init__(
        self,
        channels_in: int = 512,
        channels: int = 128,
        classes: int = 10,
        proposals: int = 200,
        heads: int = 8,
        hidden: int = 256,
        dropout: float = 0.1,
        coder: BoxCoder | None = None,
    ) -> None:
        super().__init__()
        self.classes, self.proposals = classes, proposals
        self.coder = coder or BoxCoder()
        self.shared_conv = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.heatmap_head = nn.Sequential(
            conv2d_norm(channels, channels, 3), nn.Conv2d(channels, classes, 3, padding=1)
        )
        self.class_encoding = nn.Conv1d(classes, channels, 1)
        self.decoder = nn.ModuleList([DecoderLayer(channels, heads, hidden, dropout)])
        self.prediction_heads = nn.ModuleList([PredictionHead(channels, 64, classes)])
        last = self.heatmap_head[1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.constant_(last.bias, -2.19)  # prior probability of 0.1

    def forward(self, bev: Tensor, best: Best | None = None) -> dict[str, Tensor]:
        """[B, C, X, Y] -> outputs by name; `best` finds the proposals, of equal ones the first
        where it is not given.
        """
        x = self.shared_conv(bev)
        memory = x.flatten(2)
        positions = grid_positions(x.shape[2], x.shape[3]).to(at_least_float32(x))
        dense = self.heatmap_head(x)
        peaks = local_peaks(at_least_float32(dense.detach()).sigmoid()).flatten(2)  # [B, K, P]
        found = (best or stable_best)(peaks.flatten(1), self.proposals)
        label, place = found // peaks.shape[2], found % peaks.shape[2]
        query = memory.gather(2, place.unsqueeze(1).expand(-1, memory.shape[1], -1))
        one_hot = F.one_hot(label, self.classes).transpose(1, 2).to(query.dtype)
        query = query + self.class_encoding(one_hot)
        at = positions[place]  # [B, Q, 2]
        everywhere = positions.expand(len(x), -1, -1)
        query = self.decoder[0](query, memory, at, everywhere)
        outputs: dict[str, Tensor] = self.prediction_heads[0](query)
        outputs["center"] = at_least_float32(outputs["center"]) + at.transpose(1, 2)
        scores = peaks.gather(2, place.unsqueeze(1).expand(-1, self.classes, -1))
        return {
            **outputs, "query_heatmap_score": scores, "dense_heatmap": dense,
            "proposal_class": label, "proposal_index": place,
        }  # fmt: skip

    def decode(self, outputs: dict[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Boxes [K, 9] (published convention), scores, labels of each frame; no suppression and no
        threshold, as published: only boxes far outside the grid go.
        """
        label = outputs["proposal_class"]
        own = F.one_hot(label, self.classes).transpose(1, 2)
        score = at_least_float32(outputs["heatmap"]).sigmoid() * outputs["query_heatmap_score"]
        scores, labels = (score * own).max(dim=1)
        boxes = self.coder.decode({k: at_least_float32(outputs[k]) for k in REGRESSIONS})
        limit = boxes.new_tensor(self.coder.limit_m)
        inside = (boxes[..., :3].abs() <= limit).all(-1)
        return [
            (b[kept], s[kept], c[kept])
            for b, s, c, kept in zip(boxes, scores, labels, inside, strict=True)
        ]


def stable_best(scores: Tensor, count: int) -> Tensor:
    """[B, M] -> places [B, count] of the highest, best first; of equal ones the first."""
    return scores.argsort(dim=1, descending=True, stable=True)[:, :count]


def grid_positions(cells_x: int, cells_y: int) -> Tensor:
    """Centres of the cells [X * Y, 2] = (x + 0.5, y + 0.5), x slow."""
    x, y = torch.meshgrid(torch.arange(cells_x), torch.arange(cells_y), indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1) + 0.5


def local_peaks(heat: Tensor) -> Tensor:
    """Scores [B, K, X, Y] that are highest in their 3 x 3 neighbourhood, others 0; border cells
    never are. Point-like classes keep every cell.
    """
    highest = torch.zeros_like(heat)
    highest[:, :, 1:-1, 1:-1] = F.max_pool2d(heat, 3, 1)
    point_like = [c for c in POINT_LIKE if c < heat.shape[1]]
    highest[:, point_like] = heat[:, point_like]
    return heat * (heat == highest)
