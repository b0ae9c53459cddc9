"""Trials and sweeps of a task of one's own: three modalities, nested batches, an error."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import sparsefront
from sparsefront.errors import ExecutionError, InputError
from sparsefront.models.checkpoint import store
from sparsefront.pruning.criteria import Criterion
from sparsefront.search.cli.main import main
from sparsefront.search.config.sweep_file import Sweep, read_sweep
from sparsefront.search.config.trial_spec import TrialSpec, spec_from_dict
from sparsefront.search.driver.absolute_paths import with_absolute_paths
from sparsefront.search.driver.checks import check_inputs
from sparsefront.search.driver.sweep import resume_sweep, run_sweep
from sparsefront.search.runs.front import load_front
from sparsefront.search.tasks.choose import task_of
from sparsefront.search.tasks.nested import moved
from sparsefront.search.trial.run_trial import measure, metrics_of, run_trial
from tests.helpers import own_task
from tests.helpers.catalogue import CRITERIA

PATH = "tests.helpers.own_task"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As training scripts save one: a dict that torch.load(weights_only=True) reads."""
    torch.manual_seed(0)
    task, path = own_task.Guess(), tmp_path_factory.mktemp("own") / "dense.pt"
    model = task.build()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for seed in range(40):
        for batch in task.training_batches(seed):
            optimizer.zero_grad()
            task.loss(model, batch).backward()
            optimizer.step()
    torch.save({"epoch": 40, "state_dict": model.state_dict()}, path)
    return path


@pytest.fixture
def data(checkpoint: Path) -> dict[str, Any]:
    return {
        "name": "own",
        "trial": {
            "task": {"name": f"{PATH}:Guess"},
            "checkpoint": str(checkpoint),
            "criterion": {"name": "magnitude"},
            "allocation": {"per_modality": {"sight": 0.5, "hearing": 0.2}},
            "fine_tune": {"steps": 3},
            "score_batches": 2,
            "norm_frames": 8,
            "device": "cpu",
        },
        "space": {"allocation.per_modality.sight": {"low": 0.0, "high": 0.9}},
        "trials": 3,
    }


@pytest.fixture
def spec(data: dict[str, Any]) -> TrialSpec:
    return read(data).trial


def read(data: dict[str, Any]) -> Sweep:
    from sparsefront.search.config import strict_yaml

    return strict_yaml.from_data(data, Sweep, "own.yaml")


def test_objectives_are_the_tasks_metrics_and_flops_unless_given(data: dict[str, Any]) -> None:
    sweep = read(data)
    assert sweep.objectives == ["error", "GFLOPs"]
    known = sweep.known_objectives()["error"]
    assert (known.direction, known.best_value) == ("min", 0.0)


def test_a_spec_is_written_and_read(spec: TrialSpec) -> None:
    again = spec_from_dict(json.loads(json.dumps(spec.to_dict(), default=str)))
    assert again == spec and again.task is not None
    assert again.task.name == f"{PATH}:Guess"
    assert copy.deepcopy(spec) == spec and hash(spec.task) == hash(again.task)


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: str(c.name))
def test_every_criterion_scores_it(spec: TrialSpec, criterion: Criterion) -> None:
    result = run_trial(replace(spec, criterion=criterion)).result
    assert result.per_modality_sparsity["sight"] == pytest.approx(0.5, abs=0.02)
    assert set(result.metrics) >= {"error", "GFLOPs", "sparsity"}


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "channel"])
def test_patterns_and_the_same_numbers_again(spec: TrialSpec, pattern: Any) -> None:
    own = {"overall": 0.5, "per_modality": {}} if pattern == "2:4" else {}
    if pattern == "2:4":
        own = {"overall": 0.0, "per_modality": {}, "per_layer": {"joint.0.weight": 0.5}}
    outcome = run_trial(replace(spec, allocation=replace(spec.allocation, pattern=pattern, **own)))
    assert outcome.result.metrics["sparsity"] > 0.1
    scores, cost = measure(outcome.spec, outcome.weights)
    found = metrics_of(scores, cost)
    assert {name: outcome.result.metrics[name] for name in found} == found
    if pattern == "channel":
        assert outcome.weights.channels
        assert found["GMACs"] < found["GMACs_dense"]


def test_crossprunes_lambdas_name_the_tasks_maps(data: dict[str, Any]) -> None:
    """By default 1 for each; another name is told by check."""
    data["trial"]["cross_prune"] = {"num_rounds": 1, "steps": 1}
    (terms,) = run_trial(read(data).trial).result.admm
    assert {"distortion.sight", "distortion.hearing", "distortion.touch"} <= set(terms)
    data["trial"]["cross_prune"]["lambdas"] = {"sigt": 1.0}
    with pytest.raises(InputError, match=r"lambdas\.sigt: no such feature map; allowed: sight"):
        check_inputs(read(data))


def test_a_dense_model_without_a_number_ends_no_sweep(
    data: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """NaN of all and of the dense model: trials fail, each with the reason, and it can be seen."""
    data["trial"]["task"]["name"] = f"{PATH}:Nan"
    with pytest.raises(ExecutionError, match="every trial failed"):
        run_sweep(read(data), name="nan", runs=tmp_path, trials=2)
    assert "the dense model could not be measured: ArithmeticError" in capfd.readouterr().err
    assert load_front("nan", tmp_path).points == ()


def test_crossprune_and_distillation_need_features(data: dict[str, Any]) -> None:
    lambdas = {"lambdas": {"sight": 1.0, "hearing": 1.0}, "num_rounds": 2, "steps": 2}
    data["trial"]["cross_prune"] = lambdas
    assert len(run_trial(read(data).trial).result.admm) == 2
    data["trial"]["task"]["name"] = f"{PATH}:Silent"
    with pytest.raises(InputError, match=r"Silent: has no features, which cross_prune needs"):
        check_inputs(read(data))
    del data["trial"]["cross_prune"]
    notes = run_trial(read(data).trial).result.notes
    assert any("distill_features: left out" in note for note in notes)


def test_costs_are_those_of_the_first_evaluation_batches(spec: TrialSpec) -> None:
    """MACs by hand: sight 8 x 8 x 9 x (2 x 8 + 8 x 8), hearing 16 x 3 x 8, touch 6 x 8, joint
    24 x 16, out 16 x 2.
    """
    by_hand = 64 * 9 * (16 + 64) + 16 * 3 * 8 + 6 * 8 + 24 * 16 + 16 * 2
    assert run_trial(spec).result.metrics["GMACs_dense"] == pytest.approx(by_hand / 1e9)


def test_sweep_to_front_resume_export_evaluate_apply_inspect(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data["halving"] = {"rungs": [{"steps": 1, "frames": 0.5}]}
    file, runs = tmp_path / "own.yaml", tmp_path / "runs"
    file.write_text(yaml.safe_dump(data))
    assert main(["check", str(file)]) == 0
    front = run_sweep(read_sweep(file), name="own", runs=runs)
    assert front.points and front.hypervolume > 0
    assert [o.name for o in front.objectives] == ["error", "GFLOPs"]
    again = resume_sweep("own", runs)
    assert [p.trial_id for p in again.points] == [p.trial_id for p in front.points]
    out, point = tmp_path / "out", load_front("own", runs).pick("best:error")
    where = ["--runs", str(runs)]
    assert main(["export", "own", "--pick", "best:error", "--out", str(out), *where]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(out), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics == point.result.metrics
    model = sparsefront.load_export(out).model()
    assert type(model).__name__ == "Senses" and not model.training
    checkpoint = str(data["trial"]["checkpoint"])
    applied = ["apply", str(out / "allocation.json"), "--checkpoint", checkpoint]
    assert main([*applied, "--out", str(tmp_path / "applied")]) == 0
    training = tmp_path / "train.yaml"
    training.write_text(
        yaml.safe_dump({"task": data["trial"]["task"], "steps": 3, "norm_frames": 8, "seed": 1})
    )
    longer = tmp_path / "longer.safetensors"
    assert main(["train", str(training), "--from", str(out), "--out", str(longer)]) == 0
    kept = sparsefront.load_export(out).weights.mask["sight.0.weight"]
    weights = store.load(longer)[0]
    assert not weights["sight.0.weight"][~kept].any()
    assert not weights["sight.0.weight"].equal(model.sight[0].weight)  # type: ignore[index,union-attr]
    assert main(["inspect", "own", "--pick", "knee", "--out", str(tmp_path / "look"), *where]) == 0
    assert list((tmp_path / "look").glob("features-*.png"))
    assert main(["export", "own", "--pick", "knee", "--out", str(tmp_path / "onnx"), *where,
                 "--format", "onnx"]) == 2  # fmt: skip
    assert "is of no catalogue" in capsys.readouterr().err


def test_trained_weights_may_come_with_the_model(data: dict[str, Any]) -> None:
    data["trial"]["checkpoint"] = "none"
    data["trial"]["fine_tune"]["steps"] = 0
    data["trial"]["allocation"] = {}
    outcome = run_trial(read(data).trial)
    assert outcome.result.metrics["sparsity"] == 0.0
    assert outcome.result.metrics["error"] > 0


def test_data_under_another_root(spec: TrialSpec) -> None:
    from sparsefront.search.config.moved_data import moved_data

    moved: Any = moved_data(spec, "/elsewhere").task
    assert moved.root == Path("/elsewhere")


def test_training_batches_go_on_where_they_stopped(spec: TrialSpec) -> None:
    """Epochs of one seed after another; the same batches whether one began at the start or not."""
    task = task_of(spec)
    whole = [batch["name"] for batch, _ in zip(task.training_batches(5), range(7), strict=False)]
    assert whole[:3] == ["frame 500", "frame 501", "frame 502"]
    later = task.training_batches(5, start=4)
    assert [next(later)["name"] for _ in range(3)] == whole[4:]


class Box:
    """Holds a tensor where nobody looks."""

    __slots__ = ("inside",)

    def __init__(self) -> None:
        self.inside = torch.ones(3)


class Plain:
    """Holds one among its attributes."""

    def __init__(self) -> None:
        self.inside = {"deep": torch.ones(3)}


def test_tensors_of_plain_objects_are_moved_in_a_copy() -> None:
    plain = Plain()
    there = moved({"x": plain}, "meta")["x"]
    assert there is not plain and there.inside["deep"].device.type == "meta"
    assert plain.inside["deep"].device.type == "cpu"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(method: str, answer: Any) -> None:
        monkeypatch.setattr(own_task.Guess, method, answer, raising=False)

    return use


@pytest.mark.parametrize(
    ("method", "answer", "said"),
    [
        ("build", lambda self: 3, "build returned int; allowed: a torch.nn.Module"),
        ("training_batches", lambda self, seed: [], "training_batches gave no batch"),
        ("training_batches", lambda self, seed: 7, "training_batches returned int"),
        ("evaluation_batches", lambda self, share: [], "evaluation_batches returned no batch"),
        ("evaluation_batches", lambda self, share: iter([]), "returned list_iterator"),
        ("loss", lambda self, m, b: torch.ones(3), "loss returned Tensor of shape [3]"),
        ("loss", lambda self, m, b: 1 / 0, "loss raised ZeroDivisionError"),
        ("training_batches", lambda self, seed: ["words"], "not all tensors are found"),
        ("training_batches", lambda self, seed: [{"a": torch.ones(2), "b": Box()}], "holds a Box"),
        ("build", lambda self: {}["x"], "build raised KeyError: 'x'"),
        ("metrics", {"error": "min"}, "metrics of tests.helpers.own_task:Guess: value 'min'"),
        ("loss", lambda self, m, b: torch.tensor(1.0), "loss returned a tensor without a gradient"),
        (
            "loss",
            lambda self, m, b: torch.tensor(float("nan")),
            "loss returned nan; allowed: a fin",
        ),
        (
            "evaluate",
            lambda self, model, share, device: {},
            "evaluate returned nothing, and not er",
        ),
        ("evaluate", lambda self, model: {}, "evaluate raised TypeError"),
    ],
)
def test_what_is_wrong_is_said_by_check(
    data: dict[str, Any], broken: Any, method: str, answer: Any, said: str
) -> None:
    broken(method, answer)
    with pytest.raises(InputError) as found:
        check_inputs(read(data))
    assert said in str(found.value) and "Guess" in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({}, "evaluate returned nothing, and not error; allowed: all of metrics: error"),
        ({"eror": 1.0}, "evaluate returned eror, and not error"),
        ({"error": "much"}, "evaluate returned error = 'much'; allowed: a number"),
        ({"error": "0.2"}, "evaluate returned error = '0.2'; allowed: a number"),
        (3.0, "evaluate returned float; allowed: a mapping of numbers"),
    ],
)
def test_metrics_that_are_not_there(spec: TrialSpec, broken: Any, answer: Any, said: str) -> None:
    broken("evaluate", lambda self, model, share, device: answer)
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        run_trial(spec)


def test_a_metric_that_is_no_number_fails_the_trial(spec: TrialSpec, broken: Any) -> None:
    broken("evaluate", lambda self, model, share, device: {"error": float("nan")})
    with pytest.raises(ArithmeticError, match="metric error is not finite"):
        run_trial(spec)


def test_more_than_the_metrics_is_kept_beside_them(spec: TrialSpec, broken: Any) -> None:
    broken("evaluate", lambda self, model, share, device: {"error": 1.0, "error.left": 2.0})
    assert run_trial(spec).result.per_class == {"error.left": 2.0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"name": "bevfusion-small"}}, "model: given beside task"),
        ({"image": {"height": 32, "width": 32}}, "image: given beside task"),
        ({"fine_tune": {"batch_size": 8}}, "fine_tune.batch_size: value 8 beside task"),
        ({"task": None}, "model: missing"),
        ({"checkpoint": "/nowhere.pt"}, "/nowhere.pt does not exist"),
    ],
)
def test_fields_that_do_not_go_with_a_task(
    data: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    data["trial"] |= changes
    with pytest.raises(InputError, match=said):
        check_inputs(read(data))


def test_checkpoint_of_another_model(data: dict[str, Any], tmp_path: Path) -> None:
    torch.save({"state_dict": {"other.weight": torch.ones(2)}}, tmp_path / "x.pt")
    data["trial"]["checkpoint"] = str(tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"is of another model: sight\.0\.weight is missing"):
        check_inputs(read(data))
    torch.save({"epoch": 3}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="holds no state dict"):
        check_inputs(read(data))
    (tmp_path / "x.pt").write_bytes(b"<html>")
    with pytest.raises(InputError, match="weights_only=True"):
        check_inputs(read(data))


def test_searched_paths_become_absolute(data: dict[str, Any]) -> None:
    data["space"]["task.root"] = {"choices": ["here", "there"]}
    data["space"]["checkpoint"] = {"choices": ["none", data["trial"]["checkpoint"]]}
    sweep = with_absolute_paths(read(data))
    where: Any = sweep.space["task.root"]
    assert where.choices == [os.path.abspath("here"), os.path.abspath("there")]
    found: Any = sweep.space["checkpoint"]
    assert found.choices == ["none", data["trial"]["checkpoint"]]


def test_choices_that_build_another_model_are_checked(data: dict[str, Any]) -> None:
    data["space"]["task.width"] = {"choices": [8, 12]}
    with pytest.raises(InputError, match="has shape"):
        check_inputs(read(data))


def test_given_objectives_of_our_own_are_refused(data: dict[str, Any]) -> None:
    data["objectives"] = ["mAP", "NDS", "GFLOPs"]
    with pytest.raises(InputError, match="objectives: 'mAP'"):
        read(data)
    del data["objectives"]
    data["metrics"] = {"mAP": {"direction": "min", "worst": 1.0, "best": 0.0}}
    with pytest.raises(InputError, match="metrics: value 'mAP' is of no task"):
        read(data)


def test_groups_that_are_none(data: dict[str, Any], broken: Any) -> None:
    broken("groups", lambda self, model: {"all": ("sight",)})
    with pytest.raises(InputError, match="groups returned dict; allowed"):
        check_inputs(read(data))
