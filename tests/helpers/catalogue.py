"""Every model of the catalogue at its tiny size, batches for it, and every criterion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sparsefront.models import NAMES
from sparsefront.pruning.criteria import (
    IMP,
    LAMP,
    OBS,
    SNIP,
    AlterMOMA,
    Criterion,
    Fisher,
    GraSP,
    Magnitude,
    ProsPr,
    Random,
    SynFlow,
    Taylor,
)
from sparsefront.scenes.batch import MAP_CLASSES, RADAR_FIELDS, SensorBatch
from sparsefront.scenes.loader import ImageSpec, Loader
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec

CRITERIA: list[Criterion] = [
    Magnitude(),
    Random(),
    SNIP(),
    GraSP(),
    SynFlow(num_iterations=3, sparsity=0.3),
    ProsPr(num_steps=2, lr=1e-3),
    ProsPr(num_steps=1, lr=1e-3, structured=True),
    Taylor(),
    Fisher(),
    LAMP(),
    OBS(),
    IMP(rate=0.4, sparsity=0.5, steps=2),
    AlterMOMA(),
    AlterMOMA(structured=True),
]


SMALL_MAP = "bevfusion-small, task map"
FUSERS = {f"bevfusion-small, fuser {kind}": kind for kind in ("add", "gated")}


def smallest(name: str, tiny_model: dict[str, Any]) -> Any:
    """The model's own spec, as small as the tests' other models where it has these fields."""
    if name == SMALL_MAP:
        small = smallest("bevfusion-small", tiny_model)
        return replace(small, task="map", map_channels=8)
    if name in FUSERS:
        return replace(smallest("bevfusion-small", tiny_model), fuser=FUSERS[name])
    spec = NAMES[name]()
    if hasattr(spec, "tiny"):
        return spec.tiny()
    known: dict[str, Any] = {
        k: v for k, v in tiny_model.items() if k in spec.__dataclass_fields__ and k != "name"
    }
    fields: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in known.items()}
    return replace(spec, **fields)


TWINS = (
    "mit_camera-resnet101-det",
    "mit_lidar-voxelnet-0p1-det",
    "mmdet3d_bevfusion_lidar-cam_mmcvops",
    "mmdet3d_bevfusion_lidar-cam_spconv2",
    "pcdet_bevfusion",
    "pcdet_transfusion_lidar",
)
"""The same networks as others of the catalogue, only their files differ."""


MODELS = [*(n for n in NAMES if n not in TWINS), SMALL_MAP, *FUSERS]


def batches_for(root: Path, name: str, tiny_model: dict[str, Any]) -> list[Any]:
    """The frames of the tiny data set, one a batch."""
    data = NuScenesSpec(root=str(root), version="v1.0-procedural", split="procedural_train")
    height, width = getattr(smallest(name, tiny_model), "image_size", None) or (32, 64)
    image = ImageSpec(height=height, width=width)
    found = Loader(NuScenesScenes(data), image, None, 1, shuffle=False, seed=0)
    cells = 200 if name == SMALL_MAP else 20
    return [with_radar_and_maps(batch, cells) for batch in found]


def with_radar_and_maps(batch: SensorBatch, cells: int) -> SensorBatch:
    """What the small data set lacks: 200 radar points around, a map of stripes."""
    random = torch.Generator().manual_seed(0)
    radar = torch.rand(200, RADAR_FIELDS, generator=random)
    radar[:, :2] = radar[:, :2] * 40 - 20
    maps = (torch.arange(cells) % 3 == 0).expand(len(MAP_CLASSES), cells, cells)
    targets = tuple(replace(t, maps=maps) for t in batch.targets)
    return replace(batch, radar=(radar,) * len(batch), targets=targets)


def without_a_score(criterion: Criterion, name: str) -> str | None:
    """What a criterion cannot rank: SynFlow's one threshold takes all of the radar, a sigmoid at 1
    lets no flow through; AVOD's boxes have no loss in frames without an object.
    """
    if isinstance(criterion, SynFlow):
        if name.startswith("pku_"):
            return r"fusion\.gate"
        return "radar" if "radar" in name else None
    from_loss = not isinstance(criterion, (Magnitude, Random, LAMP, OBS, IMP))
    return r"fusion\.offsets" if name == "avod-fpn" and from_loss else None
