"""Stage outputs of a published model under the original module paths, to compare implementations.

Arrays as in the original: dense maps, tokens, and for sparse stages features [N, C] in the order of
their sites ((frame X + x) Y + y) Z + z, stored beside them as `<stage>|sites`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models.camera.depth_lss import DepthLss, depth_image
from sparsefront.models.checkpoint.dialect import GEOMETRY
from sparsefront.models.checkpoint.dialects import MIT as NAMING
from sparsefront.models.convention import MIT
from sparsefront.models.decoder import SecondFpn
from sparsefront.models.heads.center_tasks import TASKS, CenterTasksHead, select_task
from sparsefront.models.heads.map_head import MapHead
from sparsefront.models.heads.transfusion import TransFusionHead
from sparsefront.models.lidar.second import SecondEncoder
from sparsefront.models.lidar.voxelize import voxelize
from sparsefront.models.mit.model import CameraStream, MitBEVFusion
from sparsefront.scenes.batch import CalibrationParts, SensorBatch, Targets

Arrays = dict[str, np.ndarray]
STAGES = re.compile(
    r"encoders\.lidar\.backbone(\.(conv_input|conv_out|encoder_layers\.\w+\.\d))?"
    r"|encoders\.(lidar|radar)\.backbone(\.pts_voxel_encoder(\.[pr]fn_layers\.\d)?)?"
    r"|encoders\.camera\.backbone(\.(patch_embed|stages\.\d\.(blocks\.\d|downsample)|layer\d))?"
    r"|encoders\.camera\.neck(\.((lateral|fpn)_convs|deblocks)\.\d)?"
    r"|encoders\.camera\.vtransform\.(dtransform|depthnet|downsample)"
    r"|fuser|decoder\.backbone(\.\d)?|decoder\.neck(\.(deblocks\.\d|fuse|upsample))?"
    r"|heads\.object\.(shared_conv|heatmap_head|task_heads\.\d(\.\w+)?)"
    r"|heads\.object\.decoder\.0(\.(self_posembed|cross_posembed|norm1|norm2))?"
    r"|heads\.map\.classifier"
)
OUT = ("center", "height", "dim", "rot", "vel", "heatmap", "query_heatmap_score", "dense_heatmap")


def read_inputs(path: str | Path, half_side_m: float = 54.0) -> SensorBatch:
    """A frame from an .npz: img_uint8 [N, H, W, 3], img_mean, img_std, points [P, 5], lidar2image
    and img_aug_matrix [N, 4, 4], lidar_aug_matrix [4, 4], gt_boxes_train [M, 9] (published
    convention) and gt_labels_train; where there, points_seg (for half_side_m below 54), radar
    [P, 45], camera_intrinsics and camera2ego [N, 4, 4]. InputError for a file that lacks one.
    """
    try:
        data = np.load(path)
        names = ("img_uint8", "img_mean", "img_std", "points", "lidar2image", "img_aug_matrix",
                 "lidar_aug_matrix", "gt_boxes_train", "gt_labels_train")  # fmt: skip
        pixels, mean, std, points, project, image, lidar, boxes, labels = (data[n] for n in names)
        more = {n: data[n] for n in ("points_seg", "radar", "camera_intrinsics", "camera2ego")
                if n in data.files}  # fmt: skip
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"inputs: {path}: {error}; allowed: an .npz of one frame") from error
    normalised = ((pixels.astype(np.float32) / 255 - mean) / std).astype(np.float32)
    on_depth = image.astype(np.float64).copy()  # on (u d, v d, d, 1): the shift meets the depth
    on_depth[:, :3, 2] += on_depth[:, :3, 3]
    on_depth[:, :3, 3] = 0
    if half_side_m < 54.0:
        points = more.get("points_seg", points)
    whole = on_depth @ project.astype(np.float64) @ np.linalg.inv(lidar.astype(np.float64))
    return SensorBatch(
        images=torch.from_numpy(normalised).permute(0, 3, 1, 2).contiguous()[None],
        points=(torch.from_numpy(points),),
        lidar_to_image=torch.from_numpy(whole).float()[None],
        lidar_to_global=torch.eye(4, dtype=torch.float64)[None],
        targets=(
            Targets(
                boxes=MIT.decode(torch.from_numpy(boxes).float()),
                labels=torch.from_numpy(labels).long(),
            ),
        ),
        tokens=("inputs",),
        parts=CalibrationParts(
            projection=torch.from_numpy(project)[None],
            image=torch.from_numpy(image)[None],
            lidar=torch.from_numpy(lidar)[None],
            intrinsics=_batched(more.get("camera_intrinsics")),
            camera_to_ego=_batched(more.get("camera2ego")),
        ),
        radar=None if "radar" not in more else (torch.from_numpy(more["radar"]),),
    )


def _batched(array: np.ndarray | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array)[None]


@torch.no_grad()
def trace(model: MitBEVFusion, batch: SensorBatch) -> Arrays:
    """Every stage of one forward pass in eval mode, then decoded boxes and losses."""
    model.eval()
    entered: dict[str, Any] = {}
    left: dict[str, Any] = {}
    handles = []
    for name, module in model.named_modules():
        if name.count(".") and STAGES.fullmatch(NAMING.their_name(name)):
            handles.append(
                module.register_forward_hook(_record(NAMING.their_name(name), entered, left))
            )
    try:
        outputs = model(batch)
    finally:
        for handle in handles:
            handle.remove()
    found: Arrays = {}
    lists = {  # the original passes on a list of one
        NAMING.their_name(name)
        for name, module in model.named_modules()
        if isinstance(module, SecondFpn)
    }
    for name, value in left.items():
        _add(found, name, [value] if name in lists else value)
    if "camera" in model.sensors:
        _add_camera(found, model, batch, entered, left)
    if "lidar" in model.sensors and isinstance(model.lidar.backbone, SecondEncoder):
        _add_voxels(found, model.lidar.backbone, batch)
    _add_head(found, model, entered, outputs)
    if not isinstance(model.head, MapHead) or batch.targets[0].maps is not None:
        for name, value in model.losses(outputs, batch).items():
            _add(found, f"loss.{name}", value)
    return found


def _record(name: str, entered: dict[str, Any], left: dict[str, Any]) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        entered[name], left[name] = inputs, output

    return hook


def _add(found: Arrays, name: str, value: Any) -> None:
    """Stores a tensor, a numbered list of them, or a block's first output; sparse ones by site."""
    if torch.is_tensor(value):
        found[f"{name}|full"] = value.cpu().numpy()
    elif hasattr(value, "spatial_shape"):
        keys = _sites(value.indices, tuple(value.spatial_shape))
        order = keys.argsort()
        found[f"{name}|full"] = value.features[order].cpu().numpy()
        found[f"{name}|sites"] = keys[order].cpu().numpy()
    elif isinstance(value, list):
        for number, one in enumerate(value):
            _add(found, f"{name}.{number}", one)
    elif isinstance(value, dict):
        for key, one in value.items():
            _add(found, f"{name}.{key}", one)
    elif isinstance(value, tuple) and torch.is_tensor(value[0]):
        found[f"{name}|full"] = value[0].cpu().numpy()


def _add_camera(
    found: Arrays, model: MitBEVFusion, batch: SensorBatch, entered: Any, left: Any
) -> None:
    stage = "encoders.camera.vtransform"
    stream = model.stream("camera")
    assert isinstance(stream, CameraStream)
    transform = stream.vtransform
    geometry = transform.geometry
    for name in GEOMETRY:
        _add(found, f"{stage}.{name}", getattr(geometry, name))
    points = geometry.points(batch.lidar_to_image)
    _add(found, f"{stage}.geometry", points)
    _add(found, f"{stage}.cell_index", geometry.index(points).int())
    if isinstance(transform, DepthLss):
        _add(found, f"{stage}.depth_input", depth_image(batch, transform.image_size))
    net = left[f"{stage}.depthnet"]
    _add(found, f"{stage}.depth_prob", net[:, : transform.bins].softmax(1))
    _add(found, f"{stage}.context", net[:, transform.bins :])
    _add(found, f"{stage}.bev_pool", entered[f"{stage}.downsample"][0])


def _add_voxels(found: Arrays, encoder: SecondEncoder, batch: SensorBatch) -> None:
    """Voxels in the order in which points entered them."""
    mean, coordinates = voxelize(
        batch.points, encoder.lower_m, encoder.voxel_m, encoder.cells,
        max_points=encoder.max_points, max_voxels=encoder.max_voxels[1],
    )  # fmt: skip
    cloud = batch.points[0]
    low, size = cloud.new_tensor(encoder.lower_m), cloud.new_tensor(encoder.voxel_m)
    index = torch.floor((cloud[:, :3] - low) / size).long()
    inside = ((index >= 0) & (index < torch.tensor(encoder.cells))).all(1)
    entering = torch.cat([torch.zeros(len(index), 1).long(), index], dim=1)[inside]
    keys = _sites(coordinates, encoder.shape)
    voxel = torch.searchsorted(keys, _sites(entering, encoder.shape))
    count = torch.bincount(voxel, minlength=len(keys))
    first = torch.full_like(keys, len(voxel)).scatter_reduce_(
        0, voxel, torch.arange(len(voxel)), "amin"
    )
    order = first.argsort()
    stage = "encoders.lidar.voxelize"
    _add(found, f"{stage}.mean_feats", mean[order])
    _add(found, f"{stage}.coords", coordinates[order])
    _add(found, f"{stage}.num_points", count[order].clamp(max=encoder.max_points))


def _add_head(found: Arrays, model: MitBEVFusion, entered: Any, outputs: dict[str, Tensor]) -> None:
    head = model.head
    if isinstance(head, MapHead):
        _add(found, "heads.map.transform", entered["heads.map.classifier"][0])
        _add(found, "heads.map.logits", outputs["map"])
        _add(found, "final.masks_bev", outputs["map"].sigmoid())
        return
    if isinstance(head, TransFusionHead):
        _add_queries(found, entered, outputs)
    else:
        _add_tasks(found, head, outputs)
    for name, value in zip(("boxes", "scores", "labels"), head.decode(outputs)[0], strict=True):
        _add(found, f"final.{name}", value)


def _add_queries(found: Arrays, entered: Any, outputs: dict[str, Tensor]) -> None:
    stage = "heads.object"
    query, _, position, _ = entered[f"{stage}.decoder.0"]
    _add(found, f"{stage}.query_feat_in", query)
    _add(found, f"{stage}.query_pos_in", position)
    for name in ("proposal_class", "proposal_index"):
        _add(found, f"{stage}.{name}", outputs[name].flatten())
    for name in OUT:
        _add(found, f"{stage}.out.{name}", outputs[name])


def _add_tasks(found: Arrays, head: CenterTasksHead, outputs: dict[str, Tensor]) -> None:
    """Each task's maps, and its boxes before suppression."""
    for name, value in outputs.items():
        _add(found, f"heads.object.out.{name}", value)
    for t in range(len(TASKS)):
        peaks = head.peaks(select_task(outputs, t), 0)
        for name, value in zip(("bboxes", "scores", "labels"), peaks, strict=True):
            _add(found, f"decode.task{t}.{name}", value)


def _sites(coordinates: Tensor, shape: tuple[int, ...]) -> Tensor:
    frame, x, y, z = coordinates.long().unbind(1)
    return ((frame * shape[0] + x) * shape[1] + y) * shape[2] + z
