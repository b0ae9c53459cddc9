"""A trial that pauses between rungs: the same bits as one that does not, wherever it goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsefront.search.config.data import share_of
from sparsefront.search.config.halving import Rung
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.training.fine_tune import FineTuner
from sparsefront.search.trial.checkpoint import CorruptCheckpoint, read_checkpoint, write_checkpoint
from sparsefront.search.trial.run_trial import TrialRun, run_trial


@pytest.fixture
def spec(sweep_data: dict[str, Any], write_yaml: Any) -> TrialSpec:
    trial = read_sweep(write_yaml(sweep_data)).trial
    return replace(trial, fine_tune=replace(trial.fine_tune, steps=5, ema=0.5))


@pytest.mark.parametrize("pattern", ["unstructured", "channel"])
def test_resumed_trial_is_the_same_bit_for_bit(
    spec: TrialSpec, tmp_path: Path, pattern: str
) -> None:
    """Measured before training and after 3 of 5 steps, and continued by another object from disk:
    weights, losses and metrics are those of a trial in one piece.
    """
    spec = replace(spec, allocation=replace(spec.allocation, pattern=pattern))
    whole = run_trial(spec)
    paused = TrialRun(spec)
    paused.train_and_evaluate(Rung(steps=0, frames=0.5))
    paused.train_and_evaluate(Rung(steps=3, frames=0.5))
    write_checkpoint(tmp_path, paused.checkpoint(), [{"steps": 0}, {"steps": 3}])
    torch.manual_seed(99)
    found = read_checkpoint(tmp_path)
    assert found is not None and found[1] == [{"steps": 0}, {"steps": 3}]
    resumed = TrialRun(spec, checkpoint=found[0])
    outcome = resumed.outcome(resumed.train_and_evaluate(resumed.full))
    assert outcome.result.losses == whole.result.losses
    assert outcome.result.metrics == whole.result.metrics
    theirs, ours = whole.weights, outcome.weights
    assert all(torch.equal(t, ours.state[n]) for n, t in theirs.state.items())
    assert all(torch.equal(t, ours.mask[n]) for n, t in theirs.mask.items())
    assert ours.channels == theirs.channels
    spent = found[0].data["timings"]["total_s"]
    assert outcome.result.timings["total_s"] > spent > 0


def test_torn_checkpoint_leaves_the_earlier_one(spec: TrialSpec, tmp_path: Path) -> None:
    """Tensors of a later rung without their JSON (a worker killed between the two writes): the
    earlier pair is read, whole.
    """
    run = TrialRun(spec)
    run.train_and_evaluate(Rung(steps=1))
    write_checkpoint(tmp_path, run.checkpoint(), [{"steps": 1}])
    run.train_and_evaluate(Rung(steps=2))
    torn = tmp_path / "elsewhere"
    write_checkpoint(torn, run.checkpoint(), [{"steps": 1}, {"steps": 2}])
    (torn / "checkpoint-2.safetensors").rename(tmp_path / "checkpoint-2.safetensors")
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert found[1] == [{"steps": 1}]
    assert len(found[0].data["losses"]) == 1
    TrialRun(spec, checkpoint=found[0])


@pytest.mark.parametrize("damage", ["cut", "json", "gone", "field", "other model"])
def test_corrupt_checkpoint_is_told(spec: TrialSpec, tmp_path: Path, damage: str) -> None:
    run = TrialRun(spec)
    run.train_and_evaluate(Rung(steps=1))
    write_checkpoint(tmp_path, run.checkpoint(), [{"steps": 1}])
    tensors, data = tmp_path / "checkpoint-1.safetensors", tmp_path / "checkpoint.json"
    if damage == "cut":
        tensors.write_bytes(tensors.read_bytes()[:1000])
    if damage == "json":
        data.write_text(data.read_text()[:-20])
    if damage == "gone":
        tensors.unlink()
    if damage == "field":
        data.write_text(data.read_text().replace('"losses"', '"loses"'))
    if damage == "other model":
        spec = replace(spec, model=replace(spec.model, head_channels=16))
        spec = replace(spec, checkpoint=_untrained(spec, tmp_path))
    with pytest.raises(CorruptCheckpoint):
        _resumed(spec, tmp_path)


def _resumed(spec: TrialSpec, folder: Path) -> TrialRun:
    found = read_checkpoint(folder)
    assert found is not None
    return TrialRun(spec, checkpoint=found[0])


def _untrained(spec: TrialSpec, folder: Path) -> str:
    from sparsefront.models import build
    from sparsefront.models.checkpoint import store

    path = folder / "other.safetensors"
    store.save(path, build(spec.model), {})
    return str(path)


def test_share_of_the_frames_is_evenly_spaced_or_the_first(spec: TrialSpec) -> None:
    """Evenly spaced, or the first ones where tracks need them; decoded frames are shared."""
    whole = share_of(spec.val, 1.0)
    half = share_of(spec.val, 0.5)
    assert half.tokens == whole.tokens[::2]
    assert half.decoded is whole.decoded and half.cache is not whole.cache
    assert share_of(spec.val, 0.5, whole_scenes=True).tokens == whole.tokens[:1]
    assert len(share_of(spec.val, 0.001).tokens) == 1


def test_rung_measures_the_moving_average(spec: TrialSpec) -> None:
    """What a rung evaluates is the moving average; training goes on with its own weights."""
    run = TrialRun(spec)
    run.train_and_evaluate(Rung(steps=2))
    tuner: FineTuner = run._tuner
    own, averaged = run._model.state_dict(), tuner.measured().state_dict()
    assert any(not torch.equal(own[name], averaged[name]) for name in own)
