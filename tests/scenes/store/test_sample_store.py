"""The prepared store: the tables' own numbers, written once, safe from killed processes."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nuscenes import NuScenes
from pyquaternion import Quaternion

from sparsefront.errors import InputError
from sparsefront.scenes.geometry import rotation_matrices
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.store.sample_store import SampleStore, open_store
from sparsefront.scenes.store.store_writer import velocities
from tests.helpers import paths

VERSION = "v1.0-procedural"
DATA = paths.DATA
MINIVAL = DATA / "nuscenes_minival"


@pytest.fixture
def tables(tiny_root: Path, tmp_path: Path) -> Path:
    """A data root with tables of its own and no files."""
    root = tmp_path / "data"
    shutil.copytree(tiny_root / VERSION, root / VERSION)
    return root


def edit(root: Path, table: str, row: int, **values: object) -> str:
    """Changes a record; returns its token."""
    path = root / VERSION / f"{table}.json"
    rows = json.loads(path.read_text())
    rows[row].update(values)
    path.write_text(json.dumps(rows))
    return str(rows[row]["token"])


def check_against_devkit(store: SampleStore, nusc: NuScenes) -> None:
    boxes = store.tables["boxes"]["token"].to_pylist()
    velocity = [nusc.box_velocity(token) for token in boxes]
    np.testing.assert_array_equal(store.numbers("boxes", "velocity"), velocity)
    first = store.numbers("samples", "first_box")
    count = store.numbers("samples", "num_boxes")
    lidar = store.numbers("samples", "data")[:, store.channels.index("LIDAR_TOP")]
    for at, token in enumerate(store.tables["samples"]["token"].to_pylist()):
        sample = nusc.get("sample", token)
        assert boxes[first[at] : first[at] + count[at]] == sample["anns"]
        data = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        assert store.text("data", "path", int(lidar[at])) == data["filename"]
        pose = nusc.get("ego_pose", data["ego_pose_token"])
        np.testing.assert_array_equal(
            store.numbers("data", "ego_rotation")[lidar[at]], pose["rotation"]
        )
    for at, token in enumerate(boxes):
        row = nusc.get("sample_annotation", token)
        assert (
            store.text("instances", "token", store.numbers("boxes", "instance")[at])
            == (row["instance_token"])
        )
        assert store.categories[store.numbers("boxes", "category")[at]] == row["category_name"]
        np.testing.assert_array_equal(store.numbers("boxes", "center")[at], row["translation"])


def test_store_equals_the_devkits_tables(tiny_root: Path) -> None:
    nusc = NuScenes(VERSION, str(tiny_root), verbose=False)
    check_against_devkit(open_store(tiny_root, VERSION), nusc)


@pytest.mark.skipif(not MINIVAL.is_dir(), reason=f"no real tables in {MINIVAL}")
def test_store_equals_the_devkit_on_real_tables() -> None:
    nusc = NuScenes("v1.0-mini", str(MINIVAL), verbose=False)
    check_against_devkit(open_store(MINIVAL, "v1.0-mini"), nusc)


def test_velocities_by_hand() -> None:
    """Three seconds apart is too long for two boxes, not for one between two."""
    center = np.array([[0.0, 0, 0], [2, 0, 0], [5, 0, 0], [9, 9, 9], [0, 0, 0], [6, 0, 0]])
    stamps = np.array([0, 1_000_000, 2_500_000, 0, 0, 2_000_000])
    before, after = np.array([-1, 0, 1, -1, -1, 4]), np.array([1, 2, -1, -1, 5, -1])
    found = velocities(center, stamps, before, after)
    np.testing.assert_allclose(found[:3, 0], [2.0, 2.0, 2.0])
    assert np.isnan(found[3:]).all()


def test_rotations_equal_pyquaternion() -> None:
    q = np.random.default_rng(0).normal(size=(200, 4))
    q[:100] /= np.linalg.norm(q[:100], axis=1, keepdims=True)
    expected = [Quaternion(list(row)).rotation_matrix for row in q]
    np.testing.assert_array_equal(rotation_matrices(q), expected)


def test_store_is_rewritten_when_a_table_changes(tables: Path) -> None:
    first = open_store(tables, VERSION)
    written = (first.folder / "boxes.arrow").stat().st_mtime_ns
    assert (open_store(tables, VERSION).folder / "boxes.arrow").stat().st_mtime_ns == written
    edit(tables, "sample_annotation", 0, num_lidar_pts=77)
    again = open_store(tables, VERSION)
    assert again.folder != first.folder
    assert not first.folder.exists()
    assert 77 in again.numbers("boxes", "num_lidar_pts")


def test_the_half_store_of_a_killed_process_is_replaced(tables: Path) -> None:
    store = open_store(tables, VERSION)
    edit(tables, "sample_annotation", 0, num_lidar_pts=78)
    place = open_store(tables, VERSION).folder
    half = place.with_name(f".{place.name}.half")
    shutil.rmtree(place)
    half.mkdir()
    (half / "boxes.arrow").write_bytes(b"half")
    code = (
        f"from pathlib import Path; from sparsefront.scenes.store.sample_store import open_store\n\
print(open_store(Path({str(tables)!r}), {VERSION!r}).tables['boxes'].num_rows)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) == store.tables["boxes"].num_rows
    assert not half.exists()


def test_two_processes_write_one_store(tables: Path) -> None:
    code = (
        f"from pathlib import Path; from sparsefront.scenes.store.sample_store import open_store\n\
print(open_store(Path({str(tables)!r}), {VERSION!r}).folder)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)
    ]
    answers = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(answers) == 1
    assert Path(answers.pop().decode().strip()).is_dir()


@pytest.mark.parametrize(
    ("table", "field", "value", "allowed"),
    [
        ("sample_annotation", "instance_token", "gone", "a token of its table"),
        ("sample_annotation", "sample_token", "gone", "a token of its table"),
        ("sample_annotation", "translation", [1.0, 2.0], "3 numbers"),
        ("sample_annotation", "size", [1.0, float("nan"), 2.0], "finite numbers"),
        ("sample_data", "calibrated_sensor_token", "gone", "a token of its table"),
        ("sample_data", "sample_token", "gone", "a token of its table"),
        ("sample_data", "ego_pose_token", "gone", "a token of its table"),
        ("sample_data", "prev", 3, "text or null"),
        ("sample", "timestamp", "now", "a number"),
        ("sample_annotation", "attribute_tokens", ["gone"], "a token of its table"),
        ("scene", "log_token", "gone", "a token of its table"),
    ],
)
def test_records_that_do_not_fit_are_named(
    tables: Path, table: str, field: str, value: object, allowed: str
) -> None:
    token = edit(tables, table, 1, **{field: value})
    with pytest.raises(InputError) as raised:
        open_store(tables, VERSION)
    line = str(raised.value)
    assert "\n" not in line
    for part in (f"{table}.json", token, field, allowed):
        assert part in line


def test_a_missing_field_is_named(tables: Path) -> None:
    path = tables / VERSION / "sample_annotation.json"
    rows = json.loads(path.read_text())
    del rows[2]["num_lidar_pts"]
    path.write_text(json.dumps(rows))
    with pytest.raises(InputError, match=f"{rows[2]['token']}: num_lidar_pts: value None"):
        open_store(tables, VERSION)


def test_samples_in_a_circle_are_refused(tables: Path) -> None:
    first = json.loads((tables / VERSION / "sample.json").read_text())[0]["token"]
    edit(tables, "sample", 1, next=first)
    with pytest.raises(InputError, match="allowed: each sample once in one scene"):
        open_store(tables, VERSION)


def test_a_damaged_or_missing_table_is_named(tables: Path) -> None:
    (tables / VERSION / "sensor.json").write_text('[{"token": ')
    with pytest.raises(InputError, match=r"sensor\.json: .*allowed: a table"):
        open_store(tables, VERSION)
    (tables / VERSION / "sensor.json").unlink()
    with pytest.raises(InputError, match=r"sensor\.json: is missing"):
        open_store(tables, VERSION)


def test_a_folder_that_cannot_be_written_is_named(tables: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"store: .*file.* cannot be written"):
        open_store(tables, VERSION, tmp_path / "file" / "stores")


def test_pickled_scenes_hold_no_tables(tiny_root: Path) -> None:
    """What goes to a worker process is where the data are, not what is in them."""
    scenes = NuScenesScenes(NuScenesSpec(root=str(tiny_root), version=VERSION, split="all"))
    sent = pickle.dumps(scenes)
    assert len(sent) < 2000
    assert pickle.loads(sent).tokens == scenes.tokens


def test_unpickling_refuses_changed_tables(tables: Path) -> None:
    """Rows of the tables of before would be other frames of those of now."""
    sent = pickle.dumps(
        NuScenesScenes(NuScenesSpec(root=str(tables), version=VERSION, split="all"))
    )
    path = tables / VERSION / "scene.json"
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]))
    with pytest.raises(InputError, match="the tables have changed during the run"):
        pickle.loads(sent)


@pytest.mark.parametrize(
    ("table", "values", "said"),
    [
        ("sample", {"timestamp": "x"}, "timestamp: value 'x'; allowed: a number"),
        ("sample", {"token": None}, "token: value None; allowed: text"),
        ("sample_annotation", {"num_lidar_pts": None}, "num_lidar_pts: value None"),
        ("sample_annotation", {"num_radar_pts": -1}, "num_radar_pts: value -1"),
        ("sample_annotation", {"size": [1, None, 2]}, "size: value .*3 numbers"),
        ("sample_annotation", {"attribute_tokens": ["x"]}, "attribute_tokens: value"),
        ("sample_data", {"width": "wide"}, "width: value 'wide'"),
        ("calibrated_sensor", {"camera_intrinsic": [[1, 2], [3]]}, "9 numbers"),
        ("scene", {"first_sample_token": ["a"]}, "first_sample_token: value"),
    ],
)
def test_fields_of_a_wrong_type_are_named(
    tables: Path, table: str, values: dict[str, object], said: str
) -> None:
    edit(tables, table, 0, **values)
    with pytest.raises(InputError, match=rf"{table}\.json: record .*{said}"):
        open_store(tables, VERSION)


@pytest.mark.parametrize("text", ["null", "[]", '{"a": "b"}', '{"a": [1]}', "x"])
def test_damaged_splits_are_named(tables: Path, text: str) -> None:
    (tables / VERSION / "splits.json").write_text(text)
    with pytest.raises(InputError, match=r"splits\.json: .*allowed: "):
        NuScenesScenes(NuScenesSpec(root=str(tables), version=VERSION, split="a"))
