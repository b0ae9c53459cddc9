"""Pillars, radar and BEVDepth's supervision against cases worked out by hand."""

from __future__ import annotations

import pytest
import torch

from sparsefront.models.camera.bevdepth import calibration, nearest_bins, radar_image
from sparsefront.models.camera.lift_splat import LiftGrid
from sparsefront.models.camera.lss import Lss
from sparsefront.models.lidar.pillars import PillarFeatures, Pillars, PointLayer
from sparsefront.models.lidar.voxelize import group_points
from sparsefront.models.radar.encoder import RadarFeatures
from sparsefront.scenes.batch import RADAR_FIELDS, CalibrationParts, SensorBatch

LOWER, VOXEL = (0.0, 0.0, 0.0), (2.0, 2.0, 4.0)


def test_points_in_groups() -> None:
    """The first two points of a voxel, zeros after them; voxels entered first stay."""
    cloud = torch.tensor(
        [
            [3.0, 1, 1, 9, 0],
            [1.0, 1, 1, 1, 0],
            [1.5, 1, 1, 2, 0],
            [0.5, 1, 1, 3, 0],
            [9, 9, 9, 0, 0],
        ]
    )
    found = group_points((cloud,), LOWER, VOXEL, (2, 2, 1), max_points=2, max_voxels=9)
    assert found.coordinates.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0]]
    assert found.count.tolist() == [2, 1]
    assert found.points[0, :, 3].tolist() == [1, 2]
    assert found.points[1, :, 3].tolist() == [9, 0]
    one = group_points((cloud,), LOWER, VOXEL, (2, 2, 1), max_points=2, max_voxels=1)
    assert one.coordinates.tolist() == [[0, 1, 0, 0]]


def test_pillar_features_by_hand() -> None:
    """Fields, offsets from the mean of two points, offsets from the pillar's centre (1, 1)."""
    cloud = torch.tensor([[0.5, 1.0, 1.0, 7.0, 0.1], [1.5, 1.0, 3.0, 5.0, 0.2]])
    grouped = group_points((cloud,), LOWER, VOXEL, (1, 1, 1), max_points=3, max_voxels=9)
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x.amax(1)

    features = PillarFeatures(5, (4,), LOWER, VOXEL)
    features.register_parameter("dtype_of", torch.nn.Parameter(torch.zeros(())))
    features.pfn_layers = torch.nn.ModuleList([Spy()])
    features(grouped)
    first, second, none = seen[0][0]
    assert torch.allclose(first, torch.tensor([0.5, 1, 1, 7, 0.1, -0.5, 0, -1, -0.5, 0]))
    assert torch.allclose(second, torch.tensor([1.5, 1, 3, 5, 0.2, 0.5, 0, 1, 0.5, 0]))
    assert not none.any()


def test_empty_places_take_part() -> None:
    """Of one point with value -1 the largest is what the norm makes of an empty place: beta = 3."""
    layer = PointLayer(1, 1, "largest").eval()
    with torch.no_grad():
        layer.linear.weight.fill_(1.0)
        layer.norm.bias.fill_(3.0)
    x = torch.tensor([[[-1.0], [0.0]]])
    assert layer(x).item() == pytest.approx(3.0)
    assert layer(x[:, :1]).item() == pytest.approx(2.0, abs=1e-2)


def test_pillars_land_in_their_cells() -> None:
    torch.manual_seed(0)
    net = Pillars((4,), (0.0, 0.0, 0.0), (6.0, 4.0, 4.0), VOXEL, 2, (9, 9)).eval()
    cloud = torch.tensor([[5.0, 1.0, 1.0, 7.0, 0.1]])
    bev = net((cloud, cloud - torch.tensor([4.0, 0, 0, 0, 0])))
    assert bev.shape == (2, 4, 3, 2)
    assert bev[0, :, 2, 0].abs().sum() > 0
    assert bev[0].abs().sum() == bev[0, :, 2, 0].abs().sum()
    assert bev[1, :, 0, 0].abs().sum() > 0


def test_radar_positions_are_shares_of_the_range() -> None:
    cloud = torch.zeros(1, RADAR_FIELDS)
    cloud[0, :4] = torch.tensor([1.0, 3.0, 2.0, 8.0])
    grouped = group_points((cloud,), LOWER, VOXEL, (2, 2, 1), max_points=1, max_voxels=9)
    features = RadarFeatures((1,), LOWER, VOXEL, (4.0, 4.0, 4.0)).eval()
    seen = []
    features.rfn_layers[0].register_forward_pre_hook(lambda m, x: seen.append(x[0]))
    features(grouped)
    x = seen[0][0, 0]
    assert x[:4].tolist() == [0.25, 0.75, 0.5, 8.0]
    assert x[-2:].tolist() == [0.0, 0.0]  # at the centre of its pillar (1, 3)


def test_nearest_bins_by_hand() -> None:
    """2 x 2 pixels a feature; bins of 1 m from 1 m: 1.2 m is bin 1, nothing or too far is 0."""
    depth = torch.zeros(1, 1, 1, 2, 6)
    depth[0, 0, 0, 0, :2] = torch.tensor([5.0, 1.2])
    depth[0, 0, 0, 1, 3] = 70.0
    assert nearest_bins(depth, 2, (1.0, 60.0, 1.0)).tolist() == [[[1, 0, 0]]]
    depth[0, 0, 0, 1, 5] = 59.5
    assert nearest_bins(depth, 2, (1.0, 60.0, 1.0)).tolist() == [[[1, 0, 59]]]


def made_batch(radar: torch.Tensor) -> SensorBatch:
    """A camera at the origin that looks along +y; focal length 10, centre (8, 8)."""
    project = torch.tensor([[10.0, 8, 0, 0], [0, 8, -10, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    parts = CalibrationParts(
        projection=project[None, None], image=torch.eye(4)[None, None], lidar=torch.eye(4)[None],
        intrinsics=torch.tensor([[10.0, 0, 8], [0, 10, 8], [0, 0, 1]])[None, None],
        camera_to_ego=torch.eye(4)[None, None],
    )  # fmt: skip
    return SensorBatch(
        images=torch.zeros(1, 1, 3, 16, 16), points=(torch.zeros(1, 5),),
        lidar_to_image=project[None, None], lidar_to_global=torch.eye(4)[None], targets=(),
        tokens=("one",), parts=parts, radar=(radar,),
    )  # fmt: skip


def test_radar_stands_at_eight_heights() -> None:
    """20 m ahead: column 8, rows 8 - 10 z / 20 for z = 0.25 .. 2: two rows, bin 20, own fields."""
    radar = torch.zeros(1, RADAR_FIELDS)
    radar[0, 1], radar[0, 3] = 20.0, 5.0
    image = radar_image(made_batch(radar), (16, 16), bins=59)
    assert image.shape == (1, 1, 59 + RADAR_FIELDS, 16, 16)
    hit = image[0, 0, 20].nonzero().tolist()
    assert hit == [[7, 8]]
    assert image[0, 0, 59 + 3, 7, 8].item() == 5.0
    assert image[0, 0, 59 + 2, 7, 8].item() == 2.0  # the last height counts
    assert image[0, 0, :59].sum() == 1


def test_calibration_is_27_numbers() -> None:
    found = calibration(made_batch(torch.zeros(1, RADAR_FIELDS)))
    assert found.shape == (1, 27)
    assert found[0, :4].tolist() == [10, 10, 8, 8]
    assert found[0, 4:10].tolist() == [1, 0, 0, 0, 1, 0]
    with pytest.raises(ValueError, match="intrinsics"):
        calibration(SensorBatch(**{**vars(made_batch(torch.zeros(1, 45))), "parts": None}))


def test_lss_lifts_to_where_the_depth_is() -> None:
    """All mass on one depth and one channel: its cell holds the feature, others nothing."""
    grid = LiftGrid(
        image_size=(16, 16), feature_size=(1, 1), x=(-8.0, 8.0, 1.0), y=(0.0, 16.0, 1.0),
        depth=(1.0, 11.0, 1.0),
    )  # fmt: skip
    view = Lss(1, 1, grid, halves=False).eval()
    with torch.no_grad():
        view.depthnet.weight.zero_()
        view.depthnet.bias.zero_()
        view.depthnet.bias[5] = 50.0  # depth 6 m
        view.depthnet.bias[-1] = 3.0
        bev = view(torch.zeros(1, 1, 1, 1), made_batch(torch.zeros(1, RADAR_FIELDS)))
    cell = bev[0, 0].nonzero()
    place = bev[0, 0].flatten().argmax().item()
    assert bev.flatten()[place].item() == pytest.approx(3.0, abs=1e-4)
    assert divmod(place, 16) == (8 - 5, 6)  # pixel (0, 0): x = -8 / 10 * 6 = -4.8 m, y = 6 m
    assert len(cell) >= 1
