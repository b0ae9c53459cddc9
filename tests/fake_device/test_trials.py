"""Whole trials on the stand-in: scored, pruned, repaired, tuned, measured, resumed, exported."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsefront.models import build
from sparsefront.pruning.criteria import AlterMOMA, Fisher
from sparsefront.pruning.crossprune import CrossPrune
from sparsefront.pruning.latency import LatencySpec
from sparsefront.search.config.device import resolve_device
from sparsefront.search.config.halving import Rung
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.driver.worker import TrialActor
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_end
from sparsefront.search.trial.checkpoint import read_checkpoint, write_checkpoint
from sparsefront.search.trial.run_trial import TrialRun, measure, run_trial
from sparsefront.search.trial.shared import forget_dense_models, prepare
from tests.fake_device.accelerator import NAME
from tests.helpers.on_device import assert_close


@pytest.fixture
def spec(sweep_data: dict[str, Any], write_yaml: Any) -> TrialSpec:
    trial = read_sweep(write_yaml(sweep_data)).trial
    tuned = replace(trial.fine_tune, steps=3, ema=0.5)
    return replace(trial, fine_tune=tuned, criterion=Fisher())


def test_auto_is_the_accelerator() -> None:
    assert resolve_device("auto") == NAME


@pytest.mark.parametrize("change", [
    {}, {"allocation": "channel"}, {"cross_prune": CrossPrune(num_rounds=1, steps=1)},
    {"criterion": AlterMOMA()}, {"latency": LatencySpec(repeats=2, warmup=0)},
], ids=["plain", "channel", "crossprune", "altermoma", "latency"])  # fmt: skip
def test_trial_has_the_numbers_of_the_cpu(spec: TrialSpec, change: dict[str, Any]) -> None:
    if change.get("allocation") == "channel":
        change = {"allocation": replace(spec.allocation, pattern="channel")}
    spec = replace(spec, **change)
    here, there = run_trial(replace(spec, device="cpu")), run_trial(spec)
    assert all(t.device.type == "cpu" for t in there.weights.state.values())
    for name in ("GFLOPs", "parameters", "bytes", "sparsity"):
        assert there.result.metrics[name] == pytest.approx(here.result.metrics[name], rel=0.02)
    assert there.result.losses == pytest.approx(here.result.losses, rel=1e-2)
    assert there.result.environment["device"] == "stand-in accelerator"
    scores, _ = measure(there.spec, there.weights)
    assert scores.metrics["mAP"] == pytest.approx(there.result.metrics["mAP"], abs=1e-6)


def test_trial_in_bfloat16(spec: TrialSpec) -> None:
    half = replace(spec, fine_tune=replace(spec.fine_tune, precision="bfloat16"))
    found, whole = run_trial(half), run_trial(spec)
    assert found.result.losses == pytest.approx(whole.result.losses, rel=0.05)
    assert found.result.losses != whole.result.losses
    assert all(t.dtype != torch.bfloat16 for t in found.weights.state.values())


def test_resumed_trial_is_the_same_bit_for_bit(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, which draws from the device's own generator."""
    _with_dropout(monkeypatch)
    whole = run_trial(spec)
    paused = TrialRun(spec)
    paused.train_and_evaluate(Rung(steps=1, frames=0.5))
    write_checkpoint(tmp_path, paused.checkpoint(), [{"steps": 1}])
    torch.manual_seed(99)
    found = read_checkpoint(tmp_path)
    assert found is not None
    resumed = TrialRun(spec, checkpoint=found[0])
    outcome = resumed.outcome(resumed.train_and_evaluate(resumed.full))
    assert outcome.result.losses == whole.result.losses
    assert_close(outcome.weights.state, whole.weights.state, 0.0)


def _with_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model draws a mask for its fused map in training."""
    from sparsefront.models.bevfusion import SmallBEVFusion as BEVFusion

    plain = BEVFusion.heads

    def heads(self: Any, features: Any) -> Any:
        fused = torch.nn.functional.dropout(features["fusion"], 0.3, self.training)
        return plain(self, {**features, "fusion": fused})

    monkeypatch.setattr(BEVFusion, "heads", heads)


def test_trial_leaves_no_memory(spec: TrialSpec) -> None:
    """The optimizer's moments go with the trial's end; the rest, which spconv's layers keep in
    cycles, when a worker collects its garbage.
    """
    run_trial(spec)  # the dense weights stay for the next one
    gc.collect()
    before = allocated()
    run = TrialRun(spec)
    scores = run.train_and_evaluate(run.full)
    trained = allocated()
    run.outcome(scores)
    moments = 2 * 4 * sum(p.numel() for p in build(spec.model).parameters())
    assert trained - allocated() >= moments
    del run
    gc.collect()
    assert allocated() == before


def allocated() -> int:
    return int(torch.get_device_module(NAME).memory_allocated())


def test_trial_that_needs_too_much_memory_fails_and_the_next_one_runs(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """Its reason says the batch size, what was allocated and what to try."""
    sweep = read_sweep(write_yaml(sweep_data))
    actor = object.__new__(TrialActor)  # Ray makes them with a logger and a thread
    actor.run_folder = RunFolder(runs=tmp_path, name="one")
    actor.base = actor.shared = prepare(sweep.trial)
    actor.sweep, actor.beaten_by, actor.gpu_note, actor.open = sweep, [], None, None
    forget_dense_models()
    gc.collect()
    actor._held_bytes = allocated()
    device = torch.get_device_module(NAME)
    device.limit_memory(allocated() + 500_000)
    try:
        actor.reset_config({"trial_id": 0, "values": {}, "beaten_by": []})
        assert actor._advance() == {"done": True}
    finally:
        device.limit_memory(-1)
    end = read_end(actor.run_folder, 0)
    assert end is not None and end.reason is not None
    assert end.reason.startswith("out of GPU memory with fine_tune.batch_size 2: fake out of")
    assert "fine_tune.batch_size 1 with fine_tune.accumulate 2" in end.reason
    assert allocated() == actor._held_bytes
    actor.reset_config({"trial_id": 1, "values": {}, "beaten_by": []})
    assert actor._advance() == {"done": True}
    end = read_end(actor.run_folder, 1)
    assert end is not None and end.status == "finished"
