"""Radar files and the 45 fields of the published BEVFusion-R."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nuscenes import NuScenes
from nuscenes.utils.data_classes import RadarPointCloud
from pyquaternion import Quaternion

from sparsefront.errors import InputError
from sparsefront.scenes.batch import RADAR_FIELDS
from sparsefront.scenes.geometry import points_in_box, pose_matrices, transform
from sparsefront.scenes.procedural.radar import RADARS
from sparsefront.scenes.radar.file import FIELDS, POINT, write_radar
from sparsefront.scenes.radar.points import RadarSweep, move_radar, radar_cloud, read_radar

VERSION = "v1.0-procedural"


def point(**fields: float) -> np.ndarray:
    return np.array([fields.get(name, 0.0) for name in FIELDS])


@pytest.fixture
def two_points(tmp_path: Path) -> Path:
    path = tmp_path / "radar.pcd"
    first = point(x=10, y=2, rcs=7.5, vx=9, vy=9, vx_comp=4, vy_comp=-1, dyn_prop=2, ambig_state=3,
                  invalid_state=17, pdh0=2, id=300, is_quality_valid=1)  # fmt: skip
    second = point(x=-1, y=0.5, z=0.25, rcs=-5, dyn_prop=7, ambig_state=4, pdh0=7)
    write_radar(path, np.stack([first, second]))
    return path


def test_written_file_is_read_alike_by_the_devkit(two_points: Path) -> None:
    """Layout as nuScenes documents it, and read alike by nuscenes-devkit with no filter."""
    assert POINT.itemsize == 43
    header = two_points.read_bytes().split(b"DATA binary\n")[0].decode().splitlines()
    assert header[2] == (
        "FIELDS x y z dyn_prop id rcs vx vy vx_comp vy_comp is_quality_valid ambig_state x_rms "
        "y_rms invalid_state pdh0 vx_rms vy_rms"
    )
    assert header[3] == "SIZE 4 4 4 1 2 4 4 4 4 4 1 1 1 1 1 1 1 1"
    assert header[4] == "TYPE F F F I I F F F F F I I I I I I I I"
    everything = (list(range(18)), list(range(8)), list(range(5)))
    theirs = RadarPointCloud.from_file(str(two_points), *everything).points.T
    found = read_radar(two_points)
    assert found.shape == (2, 18) and found.dtype == np.float32
    np.testing.assert_array_equal(found, theirs)


def test_radar_cloud_fields_by_hand(two_points: Path) -> None:
    """The radar looks left: its x is our y + 1. Half a second old: 4 m/s along x move it 2 m."""
    to_lidar = np.array([[0, -1, 0, 0], [1, 0, 0, 1], [0, 0, 1, -2], [0, 0, 0, 1.0]])
    cloud = radar_cloud([RadarSweep(path=two_points, to_lidar=to_lidar, age_s=0.5)])
    assert cloud.shape == (2, RADAR_FIELDS) and cloud.dtype == np.float32
    # place (-2, 11, -2), velocity (4, -1) turned is (1, 4), times 0.5 s
    np.testing.assert_allclose(cloud[0, :7], [-1.5, 13, -2, 7.5, 1, 4, 0.5])
    hot = np.zeros(38)
    hot[[2, 8 + 3, 8 + 5 + 17, 31, 32]] = 1  # pdh0 of 2: the first two of seven
    np.testing.assert_array_equal(cloud[0, 7:], hot)
    np.testing.assert_allclose(cloud[1, :7], [-0.5, 0, -1.75, -5, 0, 0, 0.5])
    hot = np.zeros(38)
    hot[[7, 8 + 4, 8 + 5, *range(31, 38)]] = 1
    np.testing.assert_array_equal(cloud[1, 7:], hot)
    both = [RadarSweep(path=two_points, to_lidar=np.eye(4), age_s=a) for a in (0.0, 0.5)]
    assert radar_cloud(both)[:, 6].tolist() == [0, 0, 0.5, 0.5]
    assert radar_cloud([]).shape == (0, RADAR_FIELDS)


def test_augmentation_moves_positions_and_velocities(two_points: Path) -> None:
    cloud = radar_cloud([RadarSweep(path=two_points, to_lidar=np.eye(4), age_s=0.0)])
    mirrored = move_radar(
        np.array([[-1, 0, 0, 5], [0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), cloud
    )
    np.testing.assert_allclose(mirrored[0, :6], [-5, 4, 0, 7.5, -4, -2])
    np.testing.assert_array_equal(mirrored[:, 6:], cloud[:, 6:])


def test_a_file_without_points_is_read_as_empty(tmp_path: Path) -> None:
    write_radar(tmp_path / "none.pcd", np.zeros((0, 18)))
    assert read_radar(tmp_path / "none.pcd").shape == (0, 18)
    assert RadarPointCloud.from_file(str(tmp_path / "none.pcd")).points.shape == (18, 0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-20], "67 bytes of points; allowed: 86 for 2"),
        (lambda b: b[:100], "no line DATA"),
        (lambda b: b"", "no line DATA"),
        (lambda b: b.replace(b"vx_comp", b"vx_camp"), "FIELDS"),
        (lambda b: b.replace(b"DATA binary", b"DATA ascii"), "DATA 'ascii'"),
        (lambda b: b.replace(b"WIDTH 2", b"WIDTH x"), "WIDTH 'x'"),
    ],
)
def test_damaged_files_are_named_in_one_line(two_points: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    two_points.write_bytes(damage(two_points.read_bytes()))
    with pytest.raises(InputError, match=message) as error:
        read_radar(two_points)
    assert str(two_points) in str(error.value) and "\n" not in str(error.value)


def test_values_out_of_range_are_named(tmp_path: Path) -> None:
    path = tmp_path / "radar.pcd"
    sweep = RadarSweep(path=path, to_lidar=np.eye(4), age_s=0.0)
    write_radar(path, np.stack([point(), point(dyn_prop=8)]))
    with pytest.raises(InputError, match=r"point 1: dyn_prop 8; allowed: 0..7"):
        radar_cloud([sweep])
    write_radar(path, np.stack([point(pdh0=-1)]))
    with pytest.raises(InputError, match=r"pdh0 -1; allowed: 0..7"):
        radar_cloud([sweep])
    write_radar(path, np.stack([point(), point(y=np.inf)]))
    with pytest.raises(InputError, match="point 1 is not finite"):
        read_radar(path)
    with pytest.raises(InputError, match=r"absent.pcd"):
        read_radar(tmp_path / "absent.pcd")


def test_devkit_reads_synthetic_radar(tiny_root: Path) -> None:
    """Sweeps join over time, and returns on a moving actor carry the share of its speed that a
    radar sees."""
    nusc = NuScenes(VERSION, str(tiny_root), verbose=False)
    sample = nusc.get("sample", nusc.scene[0]["last_sample_token"])
    for name in RADARS:
        cloud, ages = RadarPointCloud.from_file_multisweep(nusc, sample, name, "LIDAR_TOP", 3)
        assert cloud.points.shape[0] == 18 and cloud.points.shape[1] > 10
        assert set(ages[0].round(3)) == {0.0, 0.25, 0.5}
        data = nusc.get("sample_data", sample["data"][name])
        assert data["sensor_modality"] == "radar" and data["is_key_frame"]
        assert not nusc.get("sample_data", data["prev"])["is_key_frame"]
        everything = read_radar(tiny_root / data["filename"])
        kept = RadarPointCloud.from_file(str(tiny_root / data["filename"])).points.shape[1]
        assert 0.5 < kept / len(everything) <= 1.0
    parked = [
        row
        for row in nusc.sample_annotation
        if row["num_radar_pts"] and "vehicle.moving" not in str(row["attribute_tokens"])
    ]
    assert len(parked) > 20
    assert not any(r["num_radar_pts"] for r in nusc.sample_annotation if not r["num_lidar_pts"])


def test_boxes_count_their_radar_points(tiny_root: Path) -> None:
    """num_radar_pts of a box is what the five keyframe files hold inside it."""
    nusc = NuScenes(VERSION, str(tiny_root), verbose=False)
    for sample in nusc.sample:
        clouds = []
        for name in RADARS:
            data = nusc.get("sample_data", sample["data"][name])
            sensor = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
            ego = nusc.get("ego_pose", data["ego_pose_token"])
            ego_to_global, sensor_to_ego = pose_matrices(
                np.array([ego["translation"], sensor["translation"]]),
                np.array([ego["rotation"], sensor["rotation"]]),
            )
            to_global = ego_to_global @ sensor_to_ego
            points = read_radar(tiny_root / data["filename"])[:, :3].astype(float)
            clouds.append(transform(to_global, points))
        total = 0
        for token in sample["anns"]:
            row = nusc.get("sample_annotation", token)
            width, length, height = row["size"]
            inside = points_in_box(
                np.concatenate(clouds), np.array(row["translation"]),
                np.array([length, width, height]), Quaternion(row["rotation"]).rotation_matrix,
            )  # fmt: skip
            assert inside.sum() == row["num_radar_pts"]
            total += int(inside.sum())
        assert total > 50


def test_synthetic_velocities_are_radial(tiny_root: Path) -> None:
    """vx, vy less the radar's own motion are vx_comp, vy_comp, along the ray and never faster than
    the fastest actor."""
    nusc = NuScenes(VERSION, str(tiny_root), verbose=False)
    for data in nusc.sample_data:
        if data["sensor_modality"] != "radar":
            continue
        column = dict(zip(FIELDS, read_radar(tiny_root / data["filename"]).T, strict=True))
        across = column["vx_comp"] * column["y"] - column["vy_comp"] * column["x"]
        away = np.hypot(column["x"], column["y"])
        comp = np.hypot(column["vx_comp"], column["vy_comp"])
        assert np.all(np.abs(across) < 0.05 * away * comp + 1e-3)
        assert comp.max() < 6
        still = np.isin(column["dyn_prop"], [1, 3])
        assert comp[still].max() < 1.0
        raw = np.hypot(column["vx"] - column["vx_comp"], column["vy"] - column["vy_comp"])
        assert raw.max() < 3.5  # the ego's own speed at most, and its turning
