"""Front, hypervolume, knee and picks on points small enough to check by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.search.config.objectives import Bound, feasible, violations
from sparsefront.search.config.sweep_file import Sweep, read_sweep
from sparsefront.search.config.trial_result import TrialResult
from sparsefront.search.runs.dense_file import read_dense, write_dense
from sparsefront.search.runs.front import ParetoFront
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import StoredTrial
from tests.helpers.synthetic_sweep import front_of_sweep, stored_trial


def result(mAP: float, GFLOPs: float, NDS: float = 0.5) -> TrialResult:
    """Shares as the mAP, costs as the GFLOPs; of 10 GFLOPs, 2 m, 1000 weights at worst."""
    metrics = {"mAP": mAP, "NDS": NDS, "GFLOPs": GFLOPs, "GMACs": GFLOPs / 2, "GMACs_dense": 5.0}
    metrics |= dict.fromkeys(("AMOTA", "mIoU", "AP3D", "APBEV", "AP2D", "AOS"), mAP)
    metrics |= {"AMOTP": GFLOPs / 5, "parameters_dense": 1000.0, "nonzeros": 100 * GFLOPs}
    return TrialResult(
        metrics={**metrics, "sparsity": 1 - GFLOPs / 10},
        per_modality_sparsity={"camera": 0.1, "lidar": 0.2},
        per_modality_GMACs={}, per_class={"AP.car": mAP}, tp_errors={}, per_layer_sparsity={},
        cost={}, timings={"total_s": 1.0},
    )  # fmt: skip


@pytest.fixture
def sweep(sweep_data: dict[str, Any], write_yaml: Any) -> Sweep:
    sweep_data["objectives"] = ["mAP", "GFLOPs"]
    return read_sweep(write_yaml(sweep_data))


def stored(*points: tuple[float, float]) -> list[StoredTrial]:
    return [stored_trial(number, result(*point)) for number, point in enumerate(points)]


@pytest.fixture
def front(sweep: Sweep) -> ParetoFront:
    """Trial 2 is dominated by trial 1; the others are the front."""
    points = [(0.8, 10.0), (0.7, 5.0), (0.6, 6.0), (0.2, 1.0)]
    return front_of_sweep(sweep, "by-hand", stored(*points))


def test_front_and_hypervolume_by_hand(front: ParetoFront) -> None:
    """In gains (mAP, 1 - GFLOPs / 10): (0.8, 0), (0.7, 0.5), (0.2, 0.9) over the origin:
    0.7 * 0.5 + 0.2 * (0.9 - 0.5) = 0.43.
    """
    assert [p.trial_id for p in front.points] == [0, 1, 3]
    assert [p.trial_id for p in front.others] == [2]
    assert front.hypervolume == pytest.approx(0.43, abs=1e-12)


def test_knee_by_hand(front: ParetoFront) -> None:
    """Distances to the ideal, scaled to the front's range: trial 0 (0, 1), trial 1 (1/6, 4/9)."""
    assert front.knee().trial_id == 1


@pytest.mark.parametrize(
    ("pick", "trial"),
    [
        ("knee", 1),
        ("best:mAP", 0),
        ("best:GFLOPs", 3),
        ("trial:2", 2),
        ("max:mAP,GFLOPs<=5", 1),
        ("max:mAP, GFLOPs <= 4.9", 3),
        ("min:GFLOPs,mAP>=0.3", 1),
        ("max:mAP,GFLOPs<=9e0,mAP<=0.5", 3),
    ],
)
def test_pick_finds_its_trial(front: ParetoFront, pick: str, trial: int) -> None:
    assert front.pick(pick).trial_id == trial


@pytest.mark.parametrize(
    ("pick", "named"),
    [
        ("kneee", "allowed: knee"),
        ("best:speed", "best:speed"),
        ("trial:9", "0, 1, 2, 3"),
        ("trial:x", "trial:x"),
        ("max:mAP,GFLOPs<0.1", "not a bound"),
        ("max:mAP,GFLOPs<=0.1", "no point of the front fits"),
        ("max:recall", "no metric 'recall'"),
    ],
)
def test_pick_that_fits_nothing_is_refused(front: ParetoFront, pick: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        front.pick(pick)


def test_constraints_keep_trials_off_the_front(sweep: Sweep) -> None:
    bounded = replace(sweep, constraints={"mAP": Bound(min=0.3), "GFLOPs": Bound(max=9.0)})
    trials = stored((0.8, 10.0), (0.7, 5.0), (0.2, 1.0))
    front = front_of_sweep(bounded, "bounded", trials)
    assert [p.trial_id for p in front.points] == [1]
    assert violations(result(0.2, 10.0), bounded.constraints) == {
        "mAP>=0.3": pytest.approx(0.1),
        "GFLOPs<=9": pytest.approx(1.0),
    }
    assert feasible(result(0.3, 9.0), bounded.constraints)


def test_front_without_trials_is_empty(sweep: Sweep) -> None:
    front = front_of_sweep(sweep, "empty", [])
    assert front.hypervolume == 0.0
    assert "0 of 0 trials" in front.table()
    with pytest.raises(InputError, match="no finished trial"):
        front.pick("knee")


def test_table_and_json_agree(front: ParetoFront) -> None:
    lines = front.table().splitlines()
    points = front.to_dict()["points"]
    assert len(lines) == len(points) + 2
    for line, point in zip(lines[1:], points, strict=False):
        assert line.split()[:2] == [str(point["trial"]), f"{point['metrics']['mAP']:.4f}"]
    assert lines[2].endswith("knee")


def test_dense_model_is_the_first_row(front: ParetoFront) -> None:
    with_dense = replace(front, dense=result(0.85, 10.0))
    head, dense, *rest = with_dense.table().splitlines()
    assert dense.split() == ["dense", "0.8500", "10.0000", "0.0%", "0.0%", "0.0%"]
    assert [head, *rest] == front.table().splitlines()
    found = with_dense.to_dict()["dense"]
    assert found["mAP"] == 0.85 and front.to_dict()["dense"] is None


def test_dense_model_is_read_from_its_file(tmp_path: Path) -> None:
    run = RunFolder(runs=tmp_path, name="one")
    assert read_dense(run) is None
    write_dense(run, {"mAP": 0.75, "GFLOPs": 5.0})
    found = read_dense(run)
    assert found is not None and found.metrics == {"mAP": 0.75, "GFLOPs": 5.0}


def test_larger_dense_model_is_the_reference_of_all(sweep: Sweep) -> None:
    """A larger dense model makes nothing look cheaper: both have 5 of 12 GFLOPs.

    In gains (mAP, 1 - GFLOPs / 12): (0.7, 7/12) and, dominated, (0.6, 7/12).
    """
    larger = result(0.6, 5.0)
    larger.metrics["GMACs_dense"] = 6.0
    one, other = stored((0.7, 5.0), (0.6, 5.0))
    front = front_of_sweep(sweep, "two", [one, replace(other, result=larger)])
    assert [p.trial_id for p in front.points] == [0]
    assert front.hypervolume == pytest.approx(0.7 * 7 / 12, abs=1e-12)


def test_large_and_long_columns_stay_aligned(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    sweep_data["objectives"] = ["mAP", "latency_ms", "bytes"]
    sweep = read_sweep(write_yaml(sweep_data))
    found = result(0.5, 5.0)
    found.metrics.update(latency_ms=3.0, latency_ms_dense=4.0, bytes=159_200_000.0, bytes_dense=2e8)
    table = front_of_sweep(sweep, "one", [stored_trial(0, found)]).table()
    header, row, _ = table.splitlines()
    for name, value in (("latency_ms", "3.0000"), ("bytes", "159.2M"), ("sparsity", "50.0%")):
        assert header.index(name) + len(name) == row.index(value) + len(value)


def test_table_of_all_trials(front: ParetoFront) -> None:
    """The front first, then what it beats."""
    table = front.to_pandas()
    assert list(table["trial"]) == [0, 1, 3, 2]
    assert list(table["front"]) == [True, True, True, False]
    assert list(table["GFLOPs"]) == [10.0, 5.0, 1.0, 6.0]
    assert set(table["sparsity.lidar"]) == {0.2}
