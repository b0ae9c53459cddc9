"""The dense parts of a model as modules with named inputs and outputs.

Names and shapes are those that CUDA-BEVFusion reads (NVIDIA Lidar_AI_Solution): camera.backbone,
camera.vtransform, fuser, head.bbox. What stands between the parts is not theirs: BEV pooling
between camera.backbone and camera.vtransform, voxels before and decoding after.

Shape legend: N cameras, D depth bins, C channels, h x w feature pixels, H x W pixels, X x Y cells,
K classes, Q queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsefront.errors import InputError
from sparsefront.models import BEVFusionMIT, BEVFusionSmall, FusionModel, ModelSpec
from sparsefront.models.bevfusion import CameraBranch, SmallBEVFusion
from sparsefront.models.camera.depth_lss import DepthLss
from sparsefront.models.camera.lss import Lss
from sparsefront.models.heads.transfusion import TransFusionHead
from sparsefront.models.mit.model import CameraStream, MitBEVFusion

QUERY_OUTPUTS = {
    "rot": "rot", "dim": "dim", "reg": "center", "height": "height", "vel": "vel",
}  # fmt: skip
"""CUDA-BEVFusion's name of an output -> the head's."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """inputs: made ones, by name; outputs: names, in the order that the module gives them.

    a_set  the outputs' last axis is in no order: queries, which rounding ranks otherwise
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    a_set: bool = False


@dataclass(frozen=True, kw_only=True)
class Parts:
    """missing: part -> why the model has none."""

    found: tuple[Part, ...]
    missing: Mapping[str, str] = field(default_factory=dict)


class CameraPart(nn.Module):
    """img [1, N, 3, H, W], and depth [1, N, 1, H, W] m where the view transform reads it ->
    camera_feature [N, h, w, C] and camera_depth_weights [N, D, h, w].
    """

    def __init__(self, camera: CameraStream) -> None:
        super().__init__()
        self.camera = camera

    def forward(self, img: Tensor, depth: Tensor | None = None) -> tuple[Tensor, Tensor]:
        camera = self.camera
        maps = camera.neck(camera.backbone(camera.convention.images(img).flatten(0, 1)))
        x = maps[0] if isinstance(maps, list) else maps
        transform = camera.vtransform
        if isinstance(transform, DepthLss):
            assert depth is not None
            x = torch.cat([transform.dtransform(depth.flatten(0, 1)), x], dim=1)
        assert isinstance(transform, (DepthLss, Lss))
        return lifted(transform.depthnet(x), transform.bins)


class SmallCameraPart(nn.Module):
    """The same of the small model, which reads depth in tens of metres inside."""

    def __init__(self, camera: CameraBranch) -> None:
        super().__init__()
        self.camera = camera

    def forward(self, img: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        _, fine, coarse = self.camera.backbone(img.flatten(0, 1))
        view = self.camera.view
        near = view.depth_input(depth.flatten(0, 1) / 10.0)
        features = self.camera.neck(fine, coarse)
        return lifted(view.depth_net(torch.cat([features, near], dim=1)), len(view.depths))


class FuserPart(nn.Module):
    """The sensors' maps [1, C, X, Y] -> middle [1, C, X, Y]: fuser, then decoder."""

    def __init__(self, fuser: nn.Module | None, decoder: nn.Module) -> None:
        super().__init__()
        self.fuser, self.decoder = fuser, decoder

    def forward(self, *maps: Tensor) -> Tensor:
        out: Tensor = self.decoder(maps[0] if self.fuser is None else self.fuser(*maps))
        return out


class QueryHeadPart(nn.Module):
    """middle -> score [1, K, Q] of each query's own class, then QUERY_OUTPUTS [1, *, Q]."""

    def __init__(self, head: TransFusionHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, middle: Tensor) -> tuple[Tensor, ...]:
        found = self.head(middle, most_likely)
        own = F.one_hot(found["proposal_class"], self.head.classes).transpose(1, 2)
        score = found["heatmap"].sigmoid() * found["query_heatmap_score"] * own
        return (score, *(found[ours] for ours in QUERY_OUTPUTS.values()))


class MapsHeadPart(nn.Module):
    """middle -> the head's maps, in the order of their names."""

    def __init__(self, head: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.head, self.names = head, names

    def forward(self, middle: Tensor) -> tuple[Tensor, ...]:
        found = self.head(middle)
        return tuple(found[name] for name in self.names)


def dense_parts(model: FusionModel, image_size: tuple[int, int], cameras: int) -> Parts:
    """Every dense part of a model that `supports_parts` lets through, in eval mode, with made
    inputs of its real sizes.
    """
    model.eval()
    if isinstance(model, MitBEVFusion):
        return _published_parts(model, cameras)
    if isinstance(model, SmallBEVFusion):
        return _small_parts(model, image_size, cameras)
    raise AssertionError(type(model).__name__)


def supports_parts(spec: ModelSpec) -> None:
    """InputError for a model that is not built of these parts."""
    if not isinstance(spec, (BEVFusionMIT, BEVFusionSmall)):
        raise InputError(
            f"--format: model {spec.name!r} is not built of BEVFusion's parts; allowed for onnx, "
            "pt2 and aotinductor: bevfusion-small, mit_*, mmdet3d_*, pcdet_*"
        )


def lifted(predicted: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Logits and context [N, D + C, h, w] -> context [N, h, w, C] and distribution [N, D, h, w]"""
    return predicted[:, bins:].permute(0, 2, 3, 1), predicted[:, :bins].softmax(dim=1)


def most_likely(scores: Tensor, count: int) -> Tensor:
    """The best by TopK, the operator that engines have; equal scores come in any order."""
    return scores.topk(count, dim=1).indices


@torch.no_grad()
def _published_parts(model: MitBEVFusion, cameras: int) -> Parts:
    found: list[Part] = []
    missing: dict[str, str] = {}
    maps: dict[str, Tensor] = {}
    cells = round(2 * model.spec.half_side_m / model.cell_m)
    for sensor in model.sensors:
        stream = model.stream(sensor)
        maps[sensor] = random_input(1, stream.channels_out, cells, cells)
        if not isinstance(stream, CameraStream):
            continue
        transform = stream.vtransform
        if not isinstance(transform, (DepthLss, Lss)):
            why = f"view transform {type(transform).__name__} reads the calibration"
            missing |= {"camera.backbone": why, "camera.vtransform": why}
            continue
        height, width = transform.image_size
        inputs = {"img": random_input(1, cameras, 3, height, width)}
        if isinstance(transform, DepthLss):
            inputs["depth"] = random_depth(cameras, height, width)
        part = camera_part(CameraPart(stream), inputs)
        channels = part.module(*inputs.values())[0].shape[3]
        x, y, z = transform.geometry.cells
        found.append(part)
        if isinstance(transform.downsample, nn.Identity):
            missing["camera.vtransform"] = "no convolution follows the pooling"
        else:
            found.append(transform_part(transform.downsample, random_input(1, channels * z, x, y)))
        maps[sensor] = transform.downsample(random_input(1, channels * z, x, y))
    fusion = model.fusion
    found += fuser_and_head(FuserPart(fusion.fuser, fusion.decoder), maps, model.head)
    return Parts(found=tuple(found), missing=missing)


@torch.no_grad()
def _small_parts(model: SmallBEVFusion, image_size: tuple[int, int], cameras: int) -> Parts:
    height, width = image_size
    inputs = {
        "img": random_input(1, cameras, 3, height, width),
        "depth": random_depth(cameras, height, width),
    }  # fmt: skip
    camera = camera_part(SmallCameraPart(model.camera), inputs)
    channels = camera.module(*inputs.values())[0].shape[3]
    side = model.grid.cells
    pooled = random_input(1, channels, side, side)
    view = model.camera.view
    maps = {
        "camera": view.smooth(pooled),
        "lidar": random_input(1, model.lidar.channels_out, side, side),
    }
    fusion = FuserPart(model.fusion.fuser, model.fusion.decoder)
    return Parts(
        found=(
            camera,
            transform_part(view.smooth, pooled),
            *fuser_and_head(fusion, maps, model.fusion.head),
        )
    )


def camera_part(module: nn.Module, inputs: Mapping[str, Tensor]) -> Part:
    outputs = ("camera_feature", "camera_depth_weights")
    return Part(name="camera.backbone", module=module.eval(), inputs=inputs, outputs=outputs)


def transform_part(module: nn.Module, pooled: Tensor) -> Part:
    """feat_in [1, C, X, Y], the sums in BEV cells -> feat_out [1, C, X', Y']"""
    inputs = {"feat_in": pooled}
    return Part(name="camera.vtransform", module=module, inputs=inputs, outputs=("feat_out",))


def fuser_and_head(fuser: nn.Module, maps: Mapping[str, Tensor], head: nn.Module) -> list[Part]:
    """fuser (an input a sensor -> middle) and the head, whose file is head.bbox or head.map."""
    middle: Tensor = fuser.eval()(*maps.values())
    inputs = {"middle": random_input(*middle.shape)}
    first = Part(name="fuser", module=fuser, inputs=maps, outputs=("middle",))
    if isinstance(head, TransFusionHead):
        names = ("score", *QUERY_OUTPUTS)
        queries = Part(
            name="head.bbox", module=QueryHeadPart(head).eval(), inputs=inputs, outputs=names,
            a_set=True,
        )  # fmt: skip
        return [first, queries]
    names = tuple(head(inputs["middle"]))
    module = MapsHeadPart(head, names).eval()
    name = "head.map" if names == ("map",) else "head.bbox"
    return [first, Part(name=name, module=module, inputs=inputs, outputs=names)]


def random_input(*shape: int) -> Tensor:
    """Normal numbers, the same each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def random_depth(cameras: int, height: int, width: int) -> Tensor:
    """Depths of 0 to 60 m at a tenth of the pixels, else 0: [1, N, 1, H, W]"""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(1, cameras, 1, height, width, generator=generator)
    return torch.where(values > 0.9, (values - 0.9) * 600, torch.zeros(()))
