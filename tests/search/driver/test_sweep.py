"""Whole sweeps with real Ray, a real MLflow store and real files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.cli.main import main
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.driver.sweep import Launch, scored_specs
from sparsefront.search.trial.score_cache import key_of
from tests.helpers.faults import runs_of

FUSERS = {"choices": ["concat", "gated"]}
CRITERIA = {"choices": [{"name": "magnitude"}, {"name": "fisher"}]}


@pytest.fixture
def data(sweep_data: dict[str, Any]) -> dict[str, Any]:
    sweep_data["trial"]["criterion"] = {"name": "altermoma"}
    sweep_data["space"]["criterion.beta"] = {"low": 0.0, "high": 2.0}
    return {**sweep_data, "trials": 6, "workers": 2, "sampler": "gp"}


def run(*argv: object, out: Path) -> int:
    return main([*map(str, argv), "--runs", str(out)])


def front_of(name: str, out: Path, capsys: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert run("front", name, "--json", out=out) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.long
def test_front_is_the_same_printed_in_mlflow_and_exported(
    data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """One path: the front printed, in JSON, in MLflow and exported are the same numbers."""
    out = tmp_path / "runs"
    assert run("sweep", write_yaml(data), "--name", "one", out=out) == 0
    printed = capsys.readouterr().out
    front = front_of("one", out, capsys)
    everyone = {p["trial"]: p["metrics"] for p in front["points"] + front["others"]}
    assert sorted(everyone) == list(range(6))
    for point in front["points"]:
        assert f"{point['metrics']['GFLOPs']:.4f}" in printed

    parents, children = runs_of(out)
    assert [p.info.status for p in parents] == ["FINISHED"]
    assert [c.info.status for c in children] == ["FINISHED"] * 6
    assert {c.data.tags["mlflow.parentRunId"] for c in children} == {parents[0].info.run_id}
    for child in children:
        number = int(child.data.tags["sparsefront.trial"])
        on_front = number in {p["trial"] for p in front["points"]}
        assert child.data.tags["sparsefront.front"] == ("yes" if on_front else "no")
        assert child.data.metrics["GFLOPs"] == everyone[number]["GFLOPs"]
        assert "criterion.beta" in child.data.params
    assert front["points"][0]["metrics"]["GFLOPs"] == max(
        p["metrics"]["GFLOPs"] for p in front["points"]
    )
    assert f"hypervolume {front['hypervolume']:.4f}" in parents[0].data.tags["mlflow.note.content"]
    artifacts = Path(parents[0].info.artifact_uri.removeprefix("file://"))
    assert {p.name for p in (artifacts / "front").iterdir()} == {
        "front.json", "front.png", "front.html", "small.png", "report.html", "front.parquet",
    }  # fmt: skip
    assert (artifacts / "charts" / "allocation.png").is_file()

    exported = tmp_path / "exported"
    knee = ["--pick", "knee", "--runs", str(out)]
    assert main(["export", "one", *knee, "--out", str(exported)]) == 0
    assert {p.name for p in exported.iterdir()} == {
        "allocation.json", "masks.safetensors", "weights.safetensors", "manifest.json",
        "report.md", "front.png",
    }  # fmt: skip
    capsys.readouterr()
    assert main(["evaluate", str(exported), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["metrics"]
    assert again == everyone[front["knee"]]
    assert main(["export", "one", *knee, "--out", str(exported)]) == 2

    with open(exported / "weights.safetensors", "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\1\2\3")
    capsys.readouterr()
    assert main(["evaluate", str(exported)]) == 2
    assert "weights.safetensors: missing or changed" in capsys.readouterr().err


@pytest.mark.long
def test_predicted_sweep_tells_how_far_prediction_and_measurement_agree(
    map_sweep: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """Sparsities from the predicted front, other fields from the sampler, and how far prediction
    and measurement agree.
    """
    data = map_sweep | {"trials": 6, "workers": 2, "sampler": "predicted"}
    data["trial"]["criterion"] = {"name": "altermoma"}
    data["space"]["criterion.beta"] = {"low": 0.0, "high": 2.0}
    data["objectives"] = ["mIoU", "GFLOPs"]
    out = tmp_path / "runs"
    assert run("sweep", write_yaml(data), "--name", "one", out=out) == 0
    front = front_of("one", out, capsys)
    trials = [p["metrics"] for p in front["points"] + front["others"]]
    assert len(trials) == 6
    assert len({t["GFLOPs"] for t in trials}) == 6
    parent = runs_of(out)[0][0].data.metrics
    ranked = [v for name, v in parent.items() if name.startswith("rank_correlation")]
    assert len(ranked) == 2 and all(-1 <= v <= 1 for v in ranked)
    agreement = front["agreement"]["mIoU"]
    assert sorted(agreement.values()) == sorted(ranked)
    assert run("front", "one", out=out) == 0
    said = f"predicted loss of mIoU: rank correlation {agreement['scores']:.2f} by scores alone"
    assert said in capsys.readouterr().out


@pytest.mark.long
def test_failures_are_recorded_and_the_sweep_goes_on(
    data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """A learning rate that diverges fails its trials with the reason; the others finish."""
    data["space"] = {
        "fine_tune.lr": {"choices": [1e-3, 1e30]},
        "allocation.per_modality.camera": {"choices": [0.1, 0.5]},
    }
    out = tmp_path / "runs"
    assert run("sweep", write_yaml({**data, "trials": 4}), "--name", "bad", out=out) == 0
    front = front_of("bad", out, capsys)
    assert len(front["points"]) + len(front["others"]) == 2
    _, children = runs_of(out)
    failed = [c for c in children if c.info.status == "FAILED"]
    assert len(children) == 4
    assert len(failed) == 2
    for child in failed:
        assert "not finite" in child.data.tags["sparsefront.reason"]
        folder = out / "bad" / "trials" / child.data.tags["sparsefront.trial"]
        assert "not finite" in json.loads((folder / "failure.json").read_text())["reason"]
        assert not (folder / "result.json").exists()


@pytest.mark.long
def test_same_seed_gives_the_same_front(
    data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """One worker, one thread: two sweeps give the same trials, to the bit."""
    fronts = []
    for name in ("a", "b"):
        out = tmp_path / name
        file = write_yaml({**data, "workers": 1, "trials": 4})
        assert run("sweep", file, "--name", "same", out=out) == 0
        fronts.append(front_of("same", out, capsys))
    assert fronts[0] == fronts[1]


@pytest.mark.long
def test_sweep_runs_on_a_cluster_that_is_there(
    data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """The same file on a cluster that was there before: --address, nothing else."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        out = tmp_path / "runs"
        file = write_yaml({**data, "trials": 3})
        address = ("--name", "far", "--address", cluster.address)
        assert run("sweep", file, *address, out=out) == 0
        assert len(front_of("far", out, capsys)["points"]) >= 1
        assert len(runs_of(out)[1]) == 3
    finally:
        ray.shutdown()
        cluster.shutdown()


def specs(sweep_data: dict[str, Any], write_yaml: Any, space: dict[str, Any]) -> list[Any]:
    return scored_specs(read_sweep(write_yaml({**sweep_data, "space": space})))


def test_every_pair_of_choices_is_scored(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    """Each criterion on each model, as any of the four may be proposed."""
    found = specs(sweep_data, write_yaml, {"model.fuser": FUSERS, "criterion": CRITERIA})
    pairs = {(s.model.fuser, s.criterion.name) for s in found}
    assert pairs == {(f, c) for f in ("concat", "gated") for c in ("magnitude", "fisher")}
    assert len({key_of(s) for s in found}) == 4


def test_too_many_pairs_are_scored_choice_by_choice(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    steps = {"choices": list(range(40))}
    found = specs(sweep_data, write_yaml, {"model.fuser": FUSERS, "fine_tune.steps": steps})
    assert len(found) == 2 + 40


def test_own_trial_is_scored_where_nothing_is_chosen(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    space = {"allocation.per_modality.camera": {"low": 0.0, "high": 0.9}}
    assert len(specs(sweep_data, write_yaml, space)) == 1


def test_launch_of_an_earlier_version_is_read() -> None:
    """Without the commit of the folder that it was launched from."""
    assert Launch(run_id="x", address=None, tracking_uri="sqlite:///x").code is None
