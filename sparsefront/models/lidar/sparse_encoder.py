"""VoxelNet-class sparse encoder (Yan et al., SECOND, Sensors 2018): voxels to a BEV map.

Coordinates are (frame, x, y, z), x first, as in the published BEVFusion.
"""

from __future__ import annotations

from torch import Tensor, nn

from sparsefront.models.bev_grid import BevGrid
from sparsefront.models.lidar.sparse_conv import spconv, strided, submanifold
from sparsefront.models.lidar.voxelize import voxelize
from sparsefront.models.precision import full_precision

INTENSITY_SCALE = 255.0
"""Intensities are 0..255 (scenes.batch)."""
HEIGHTS_OUT = 2
"""Heights that are left of 16 voxels after three halvings, joined to the channels."""


class SparseEncoder(nn.Module):
    """Submanifold stages joined by stride-2 convolutions, then the height folded into channels."""

    def __init__(self, channels: tuple[int, int, int], channels_out: int, grid: BevGrid) -> None:
        super().__init__()
        self.grid = grid
        self.voxel_m = (grid.cell_m / 4, grid.cell_m / 4, (grid.z_max_m - grid.z_min_m) / 16)
        self.shape = (grid.cells * 4, grid.cells * 4, 16)
        first, second, third = channels
        self.conv_input = submanifold(5, first, "stage1")
        self.stage1 = submanifold(first, first, "stage1")
        self.down1 = strided(first, second, (3, 3, 3), (2, 2, 2), (1, 1, 1), "down1")
        self.stage2 = spconv.SparseSequential(
            submanifold(second, second, "stage2"), submanifold(second, second, "stage2")
        )
        self.down2 = strided(second, third, (3, 3, 3), (2, 2, 2), (1, 1, 1), "down2")
        self.stage3 = spconv.SparseSequential(
            submanifold(third, third, "stage3"), submanifold(third, third, "stage3")
        )
        self.conv_out = strided(
            third, channels_out // HEIGHTS_OUT, (1, 1, 3), (1, 1, 2), (0, 0, 1), "out"
        )

    @property
    def channels_out(self) -> int:
        return int(self.conv_out[0].out_channels) * HEIGHTS_OUT

    @full_precision
    def forward(self, points: tuple[Tensor, ...]) -> Tensor:
        """B tensors [P, 5] -> BEV [B, C, X, Y]; sparse channel c at height d is channel 2c + d."""
        grid = self.grid
        lower = (-grid.half_side_m, -grid.half_side_m, grid.z_min_m)
        features, coordinates = voxelize(points, lower, self.voxel_m, self.shape)
        features = features.to(self.conv_input[0].weight.dtype)
        scale = features.new_tensor(
            [1 / grid.half_side_m, 1 / grid.half_side_m, 1.0, 1 / INTENSITY_SCALE, 1.0]
        )
        x = spconv.SparseConvTensor(features * scale, coordinates, list(self.shape), len(points))
        x = self.stage1(self.conv_input(x))
        x = self.stage2(self.down1(x))
        x = self.stage3(self.down2(x))
        dense = to_dense(self.conv_out(x))  # [B, C, X, Y, Z]
        frames, channels, cells_x, cells_y, heights = dense.shape
        bev: Tensor = dense.permute(0, 1, 4, 2, 3).reshape(
            frames, channels * heights, cells_x, cells_y
        )
        return bev


def to_dense(x: spconv.SparseConvTensor) -> Tensor:
    """Sparse features [V, C] on their grid: [B, C, X, Y, Z], zeros where nothing is."""
    frame, cell_x, cell_y, height = x.indices.long().unbind(1)
    dense = x.features.new_zeros(x.batch_size, *x.spatial_shape, x.features.shape[1])
    dense = dense.index_put((frame, cell_x, cell_y, height), x.features)
    return dense.permute(0, 4, 1, 2, 3)
