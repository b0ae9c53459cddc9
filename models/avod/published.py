"""AVOD-FPN's configuration for cars, and the same at a size for tests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from models.avod.bev_maps import Ground
from models.avod.model import Avod
from models.fusion_model import Task


@dataclass(frozen=True, kw_only=True)
class AvodFpn:
    """Channels of the pyramids, anchors, and both stages' crops and layers.

    sizes_m   length, width and height of the anchors
    anchor_margin_m  anchors farther than this from any point are left out
    samples   of a crop's side: anchors in one channel, proposals in all
    """

    task: ClassVar[Task] = "detection"
    name: Literal["avod-fpn"] = "avod-fpn"
    channels: tuple[int, int, int, int] = (32, 64, 128, 256)
    ground: Ground = field(default_factory=Ground)
    classes: tuple[str, ...] = ("car",)
    sizes_m: tuple[tuple[float, float, float], ...] = ((3.5, 1.6, 1.5), (4.2, 1.7, 1.5))
    anchor_step_m: float = 0.5
    anchor_margin_m: float = 0.0
    anchor_samples: int = 3
    anchor_width: int = 256
    before_nms: int = 2000
    proposals: int = 300
    proposal_overlap: float = 0.8
    box_samples: int = 7
    box_width: int = 2048
    score_threshold: float = 0.1
    box_overlap: float = 0.01

    def build(self) -> Avod:
        return Avod(self)

    def tiny(self) -> AvodFpn:
        """Every part at a size for tests: 20 x 20 m in cells of 0.4 m."""
        ground = replace(self.ground, half_width=10.0, length=20.0, cell_m=0.4)
        return replace(
            self, channels=(4, 8, 8, 8), ground=ground, anchor_step_m=2.0, anchor_width=8,
            before_nms=40, proposals=10, box_samples=3, box_width=8,
        )  # fmt: skip


PUBLISHED = (AvodFpn,)
