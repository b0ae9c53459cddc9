"""The dialects of the code bases whose checkpoints are read, by the model's name."""

from __future__ import annotations

from dataclasses import replace

from sparsefront.models.checkpoint.dialect import Dialect

MIT = Dialect(
    names=(
        (r"^(camera|lidar|radar)\.", r"encoders.\1."),
        (r"^fusion\.", ""),
        (r"vtransform\.geometry\.", "vtransform."),
    )
)
"""mit-han-lab/bevfusion."""

MMDET3D = Dialect(
    names=(
        *MIT.names,
        (r"^encoders\.camera\.backbone\.", "img_backbone."),
        (r"^encoders\.camera\.neck\.", "img_neck."),
        (r"^encoders\.camera\.vtransform\.", "view_transform."),
        (r"^encoders\.lidar\.backbone\.", "pts_middle_encoder."),
        (r"^fuser\.", "fusion_layer."),
        (r"^decoder\.(backbone|neck)\.", r"pts_\1."),
        (r"^heads\.object\.", "bbox_head."),
        (r"decoder\.0\.self_attn\.", "decoder.0.self_attn.attn."),
        (r"decoder\.0\.multihead_attn\.", "decoder.0.cross_attn.attn."),
        (r"decoder\.0\.linear1\.", "decoder.0.ffn.layers.0.0."),
        (r"decoder\.0\.linear2\.", "decoder.0.ffn.layers.1."),
        (r"decoder\.0\.norm1\.", "decoder.0.norms.0."),
        (r"decoder\.0\.norm2\.", "decoder.0.norms.1."),
        (r"decoder\.0\.norm3\.", "decoder.0.norms.2."),
    ),
    sparse="spconv2",
)
"""mmdetection3d 1.x, projects/BEVFusion, with spconv 2."""

MMDET3D_MMCV = replace(MMDET3D, sparse="spconv1")
"""The same with mmcv's own sparse operations."""


def _shift_layer(block: int, first: int) -> tuple[str, str]:
    """OpenPCDet's BEV blocks begin with a padding layer."""
    return rf"backbone_2d\.blocks\.{block}\.{first}\.", f"backbone_2d.blocks.{block}.<{first + 1}>."


PCDET = Dialect(
    names=(
        *MIT.names,
        (r"^encoders\.camera\.backbone\.", "image_backbone."),
        (r"^encoders\.camera\.", ""),
        (r"^encoders\.lidar\.backbone\.", "backbone_3d."),
        *(  # the strided convolution ends a stage here and begins the next one there
            (rf"encoder_layers\.encoder_layer{i}\.2\.", f"conv{i + 1}.<0>.") for i in (1, 2, 3)
        ),
        (r"encoder_layers\.encoder_layer1\.", "conv1."),
        *(
            (rf"encoder_layers\.encoder_layer{i}\.{j}\.", f"conv{i}.{j + 1}.")
            for i in (2, 3, 4)
            for j in (0, 1)
        ),
        (r"^fuser\.", "fuser.conv."),
        (r"^decoder\.(backbone|neck)\.", "backbone_2d."),
        *(_shift_layer(block, first) for block in (0, 1) for first in range(17)),
        (r"^heads\.object\.", "dense_head."),
        (r"dense_head\.decoder\.0\.", "dense_head.decoder."),
        (r"prediction_heads\.0\.(\w+)\.0\.conv\.", r"prediction_head.\1.0.0."),
        (r"prediction_heads\.0\.(\w+)\.0\.bn\.", r"prediction_head.\1.0.1."),
        (r"prediction_heads\.0\.", "prediction_head."),
        (r"<(\d+)>", r"\1"),
    ),
    sparse="spconv2",
    z_first=True,
    maps=r"^fusion\.",
    buffers=("global_step",),
    wrapper="model_state",
)
"""OpenPCDet."""

PKU = Dialect(
    names=(
        (r"^camera\.(backbone|neck)\.", r"img_\1."),
        (r"^camera\.view\.geometry\.", "lift_splat_shot_vis."),
        (r"^camera\.view\.depthnet\.", "lift_splat_shot_vis.camencode.depthnet."),
        (r"^camera\.view\.", "lift_splat_shot_vis."),
        (r"^lidar\.encoder\.pts_voxel_encoder\.pfn_layers\.", "pts_voxel_encoder.vfe_layers."),
        (r"^lidar\.encoder\.", "pts_middle_encoder."),
        (r"^lidar\.(backbone|neck)\.", r"pts_\1."),
        (r"^fusion\.fuser\.", "reduc_conv."),
        (r"^fusion\.gate\.", "seblock."),
        (r"^fusion\.head\.", "pts_bbox_head."),
        (r"feature_adapt_(cls|reg)\.conv\.", r"feature_adapt_\1."),
        (r"patch_embed\.projection\.", "patch_embed.proj."),
        (r"cb_modules\.(\d)\.stages\.", r"cb_modules.\1.layers."),
        (r"\.attn\.w_msa\.", ".attn."),
        (r"ffn\.layers\.0\.0\.", "mlp.fc1."),
        (r"ffn\.layers\.1\.", "mlp.fc2."),
    ),
    z_first=True,
    maps=r"^fusion\.|^lidar\.(backbone|neck)\.|^camera\.view\.bevencode\.",
    swin="official",
)
"""ADLab-AutoDrive/BEVFusion ("PKU")."""

BY_PREFIX = {
    "mit_": MIT,
    "mmdet3d_bevfusion_lidar-cam_mmcvops": MMDET3D_MMCV,
    "mmdet3d_": MMDET3D,
    "pcdet_": PCDET,
    "pku_": PKU,
}


def dialect_of(model_name: str) -> Dialect | None:
    """The dialect of a published model; None for one of our own."""
    return next((d for prefix, d in BY_PREFIX.items() if model_name.startswith(prefix)), None)
