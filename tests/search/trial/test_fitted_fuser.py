"""Trials and a sweep with another fuser than the checkpoint's, on real files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from sparsefront.errors import InputError
from sparsefront.models import build
from sparsefront.models.checkpoint import store
from sparsefront.models.checkpoint.other_fuser import fuser_of
from sparsefront.models.fuser import PREFIX, AddFuser
from sparsefront.models.fusion_model import FusionModel
from sparsefront.search.cli.main import main
from sparsefront.search.cli.measure import evaluate_export
from sparsefront.search.config.space import with_values
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.driver.checks import read_checked
from sparsefront.search.exports.export import export, load_export, load_small
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_finished
from sparsefront.search.runs.trial_writer import write_trial
from sparsefront.search.tasks.choose import task_of
from sparsefront.search.training.fine_tune import tuned_groups
from sparsefront.search.trial.checks import check_trial
from sparsefront.search.trial.fitted_fuser import fitted_projections
from sparsefront.search.trial.run_trial import run_trial
from sparsefront.search.trial.shared import (
    Shared,
    dense_model,
    prepare,
    trained_model,
)

KINDS = ["concat", "add", "gated"]


@pytest.fixture
def spec(sweep_data: dict[str, Any], write_yaml: Any) -> TrialSpec:
    return read_sweep(write_yaml(sweep_data)).trial


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        *(("unstructured", kind) for kind in KINDS),
        *(pytest.param("channel", kind, marks=pytest.mark.long) for kind in KINDS[1:]),
    ],
)
def test_trial_with_each_fuser_is_exported_and_measured_the_same(
    spec: TrialSpec, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, pattern: str,
    kind: str,
) -> None:  # fmt: skip
    """Each fuser is pruned, trained, stored and measured again to the bit; pruned where asked."""
    allocation = {"per_modality": {"camera": 0.5, "lidar": 0.3, "fusion": 0.4}, "pattern": pattern}
    spec = with_values(spec, {"model.fuser": kind, "allocation": allocation})
    shared = prepare(spec)
    dense = dense_model(spec, shared).state_dict()
    outcome = run_trial(spec, shared)
    assert run_trial(spec, shared).result.metrics == outcome.result.metrics
    weights = outcome.weights
    fuser = {k for k in weights.state if k.startswith(PREFIX)}
    moved = {k for k in fuser if not torch.equal(weights.state[k], dense[k])}
    assert moved == fuser
    assert all(not weights.mask[k].all() for k in fuser & set(weights.mask) if pattern != "channel")
    assert (kind == "gated") == (f"{PREFIX}gate.weight" in fuser)
    assert f"{PREFIX}gate.weight" not in weights.mask

    run = RunFolder(runs=tmp_path, name="one")
    write_trial(run, 0, outcome)
    run.sweep_file.write_bytes(write_yaml(sweep_data).read_bytes())
    folder = export("one", tmp_path, "trial:0", tmp_path / "out")
    assert load_export(folder).spec.model.fuser == kind  # type: ignore[union-attr]
    assert evaluate_export(folder)["metrics"] == outcome.result.metrics
    if pattern == "channel":
        small, full = load_small(folder), build(spec.model)
        full.load_state_dict(weights.state)
        batch = task_of(spec).cost_batches(1)[0]
        with torch.no_grad():
            for name, value in full.eval()(batch).items():
                assert torch.allclose(small(batch)[name], value, rtol=0, atol=1e-5)


def test_fit_is_nearer_than_the_summed_kernel(spec: TrialSpec) -> None:
    """And a kernel with one tap in the middle is a projection: found exactly."""
    spec = with_values(spec, {"model.fuser": "add"})
    shared = Shared(state={spec.checkpoint: store.load(spec.checkpoint)[0]})
    trained = trained_model(spec, shared).eval()
    summed, fitted = dense_model(spec, shared), dense_model(spec, prepare(spec))
    batches = task_of(spec).scoring_batches(spec.seed, spec.score_batches, "cpu")
    assert off(trained, fitted, batches) < 0.8 * off(trained, summed, batches)

    joined, add = fuser_of(trained), fuser_of(fitted)
    assert joined is not None and isinstance(add, AddFuser)
    tap = torch.zeros(3, 3)
    tap[1, 1] = 1
    with torch.no_grad():
        joined.conv[0].weight.mul_(tap)  # type: ignore[union-attr, index, operator]
    found = fitted_projections(add, trained, batches)
    add.load_state_dict({**add.state_dict(), **found})
    assert off(trained, fitted, batches) < 1e-3


@torch.no_grad()
def off(trained: FusionModel, other: FusionModel, batches: list[Any]) -> float:
    """Relative distance of what both fusers sum before their norm, over all cells."""
    kernel = trained.fusion.fuser.conv[0].weight  # type: ignore[union-attr, index]
    layers = other.fusion.fuser.project.values()  # type: ignore[union-attr, operator]
    both = torch.cat([layer.weight for layer in layers], 1)
    difference = size = 0.0
    for batch in batches:
        features = trained.features(batch)
        x = torch.cat([features["camera"], features["lidar"]], 1)
        wanted = F.conv2d(x, kernel, padding=1)  # type: ignore[call-overload]
        difference += float((F.conv2d(x, both) - wanted).square().sum())
        size += float(wanted.square().sum())
    return difference / size


def test_distillation_is_from_the_checkpoints_own_model(spec: TrialSpec) -> None:
    """Open gates say what the teacher says; other projections do not."""
    distils = {"fine_tune.distill_features": 1.0, "fine_tune.steps": 1}
    losses = {}
    for kind in KINDS:
        values = {"model.fuser": kind, "allocation.per_modality": {"camera": 0.0}}
        none = {"fine_tune.distill_features": 0.0, "fine_tune.steps": 1}
        plain = run_trial(with_values(spec, values | none)).result.losses[0]
        losses[kind] = run_trial(with_values(spec, values | distils)).result.losses[0] - plain
    assert losses["gated"] == losses["concat"]
    assert losses["add"] > losses["concat"] + 1e-3


def test_fuser_lr_is_of_the_fuser_alone(spec: TrialSpec) -> None:
    """A rate of zero leaves the fuser as it was, and nothing else; one is what there was."""
    gated = with_values(spec, {"model.fuser": "gated", "fine_tune.fuser_lr": 0.0})
    shared = prepare(gated)
    before = dense_model(gated, shared)
    parameters = dict(before.named_parameters())
    after = run_trial(gated, shared).weights.state
    assert torch.equal(after[f"{PREFIX}gate.weight"], parameters[f"{PREFIX}gate.weight"])
    assert any(
        not torch.equal(after[name], p) for name, p in parameters.items() if "norm" not in name
    )
    groups = tuned_groups(before, replace(gated.fine_tune, fuser_lr=3.0))
    assert [g.get("lr_factor", 1.0) for g in groups] == [1.0, 1.0, 3.0, 3.0]
    counted = [len(g["params"]) for g in groups]  # type: ignore[arg-type]
    assert sum(counted) == len(parameters)
    assert counted[2:] == [2, 3]  # kernel and gate; the gate's bias, the norm's two


def test_fusers_that_do_not_fit_are_refused(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, spec: TrialSpec
) -> None:
    """One line each, from the file alone where the file tells it."""
    one, another, strange, kept = (json.loads(json.dumps(sweep_data)) for _ in range(4))
    one["trial"]["model"] = {"name": "mit_lidar-only-det", "fuser": "add"}
    refused(
        write_yaml(one),
        "field trial.model.fuser: value 'add'; mit_lidar-only-det has one modality and fuses "
        "nothing; allowed: concat",
    )
    another["trial"]["model"] = {"name": "pku_bevf_tf"}
    another["space"]["model.fuser"] = {"choices": KINDS}
    refused(write_yaml(another), "space.model.fuser: no such field of a trial; allowed at model: ")
    one["trial"]["model"].pop("fuser")
    one["space"] = {"model.fuser": {"choices": KINDS}}
    refused(write_yaml(one), "space.model.fuser: value 'add'; mit_lidar-only-det has one modality")
    strange["space"]["model.fuser"] = {"choices": ["concat", "mean"]}
    refused(write_yaml(strange), "space.model.fuser: value 'mean'")

    gated = build(replace(spec.model, fuser="gated"))  # type: ignore[call-arg]
    kept["trial"]["checkpoint"] = str(tmp_path / "gated.safetensors")
    store.save(kept["trial"]["checkpoint"], gated, {})
    kept["trial"]["model"]["fuser"] = "gated"
    check_trial(read_sweep(write_yaml(kept)).trial)
    kept["space"]["model.fuser"] = {"choices": ["gated", "add"]}
    with pytest.raises(InputError, match=r"'add', but checkpoint .* trained with 'gated'") as error:
        read_checked(write_yaml(kept))
    assert "\n" not in str(error.value)


def test_layer_that_a_searched_fuser_lacks_is_refused(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    """Told before the sweep starts, not by the first trial that draws it."""
    layer = "allocation.per_layer.fusion.fuser.conv.0.weight"
    sweep_data["space"][layer] = {"low": 0.0, "high": 0.5}
    read_checked(write_yaml(sweep_data))
    sweep_data["space"]["model.fuser"] = {"choices": ["concat", "add"]}
    with pytest.raises(InputError, match=f"field trial.{layer}"):
        read_checked(write_yaml(sweep_data))


def refused(file: Path, said: str) -> None:
    with pytest.raises(InputError) as error:
        read_sweep(file)
    message = str(error.value)
    assert said in message
    assert "\n" not in message


@pytest.mark.long
def test_sweep_over_fusers_measures_each_against_its_own_dense_cost(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """Three trials, every fuser tried: each has its own dense cost, and is rebuilt by its spec."""
    sweep_data["space"] = {"model.fuser": {"choices": KINDS}}
    sweep_data |= {"trials": 3, "sampler": "random"}
    out = tmp_path / "runs"
    file = write_yaml(sweep_data)
    assert main(["sweep", str(file), "--name", "fusers", "--runs", str(out)]) == 0
    trials = read_finished(RunFolder(runs=out, name="fusers"))
    dense = {t.spec.model.fuser: t.result.metrics["GMACs_dense"] for t in trials}  # type: ignore[union-attr]
    assert set(dense) == set(KINDS)
    assert dense["add"] < dense["concat"] < dense["gated"]
    for trial in trials:
        folder = export("fusers", out, f"trial:{trial.trial_id}", tmp_path / str(trial.trial_id))
        assert evaluate_export(folder)["metrics"] == trial.result.metrics
