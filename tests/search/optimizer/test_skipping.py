"""Trials that end before any training, and what the optimizer learns from those ended early."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from sparsefront.search.cli.main import main
from sparsefront.search.config.objectives import Bound
from sparsefront.search.config.sweep_file import first_trial, read_sweep
from sparsefront.search.config.trial_result import Stop, TrialResult
from sparsefront.search.driver.searcher import OptunaSearcher
from sparsefront.search.driver.worker import TrialActor
from sparsefront.search.optimizer.ask_and_tell import Optimizer
from sparsefront.search.optimizer.skipping import (
    MOST_IN_A_ROW,
    comparable,
    dominating_costs,
    give_up_reason,
    skip_reason,
)
from sparsefront.search.optimizer.stopped_estimate import estimate_stopped
from sparsefront.search.reports.sweep_view import read_view
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_end
from sparsefront.search.trial.run_trial import run_trial
from sparsefront.search.trial.shared import Shared

OBJECTIVES = ["mAP", "NDS", "GFLOPs"]


def result(mAP: float, GFLOPs: float, looks: list[dict[str, Any]] | None = None) -> TrialResult:
    metrics = {"mAP": mAP, "NDS": mAP, "GFLOPs": GFLOPs, "GMACs_dense": 50.0}
    return TrialResult(
        metrics=metrics, per_modality_sparsity={}, per_modality_GMACs={}, per_class={},
        tp_errors={}, per_layer_sparsity={}, cost={}, timings={}, looks=looks or [],
    )  # fmt: skip


def look(mAP: float, steps: int = 5) -> dict[str, Any]:
    metrics = {"mAP": mAP, "NDS": mAP, "GFLOPs": 40.0}
    return {"steps": steps, "frames": 0.5, "total_s": 1.0, "metrics": metrics}


def test_what_costs_more_than_the_best() -> None:
    """At 60 GFLOPs a trial is as good as any, the dense one included: 60 and more cannot pay."""
    beaten_by = dominating_costs(
        OBJECTIVES, [result(0.5, 99.0), result(0.6, 60.0), result(0.3, 20.0)]
    )
    assert beaten_by == [{"GFLOPs": 60.0}]
    reason = skip_reason({"GFLOPs": 70.0}, beaten_by, {})
    assert reason is not None and "GFLOPs 60 only" in reason
    assert skip_reason({"GFLOPs": 59.9}, beaten_by, {}) is None


def test_what_is_within_reach_must_be_known() -> None:
    """Without a nearly dense trial better ones may cost more; a best in mAP only beats nothing."""
    assert dominating_costs(OBJECTIVES, [result(0.6, 60.0)]) == []
    assert dominating_costs(["mAP", "NDS"], [result(0.6, 99.0)]) == []
    assert dominating_costs(["GFLOPs"], [result(0.6, 99.0)]) == []
    split = result(0.6, 60.0)
    split.metrics["NDS"] = 0.1
    assert dominating_costs(OBJECTIVES, [result(0.5, 99.0), split]) == []


def test_only_what_may_be_on_the_front_beats() -> None:
    """The best of all at 20 GFLOPs breaks a constraint; of the others that at 60 is the best."""
    trials = [result(0.5, 99.0), result(0.6, 60.0), result(0.7, 20.0)]
    trials[2].metrics["skipped"] = 5.0
    trials[0].metrics["skipped"] = trials[1].metrics["skipped"] = 0.0
    assert dominating_costs(OBJECTIVES, trials) == [{"GFLOPs": 20.0}]
    assert dominating_costs(OBJECTIVES, trials, {"skipped": Bound(max=0.0)}) == [{"GFLOPs": 60.0}]
    assert dominating_costs(OBJECTIVES, trials, {"skipped": Bound(min=9.0)}) == []


def test_what_a_nearly_dense_trial_tells_of() -> None:
    """Of one model trained alike; a fuser or a learning rate may reach more."""
    assert comparable(["allocation.per_stage.camera.neck", "trade_off.saved", "criterion.beta"])
    assert not comparable(["allocation.per_modality.camera", "model.fuser"])
    assert not comparable(["fine_tune.lr"])


@pytest.mark.parametrize(
    ("field", "told"),
    [("allocation.per_modality.fusion", [{"GFLOPs": 60.0}]), ("fine_tune.lr", [])],
)
def test_what_a_trial_is_told(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, field: str, told: Any
) -> None:
    """Nothing is beyond reach where trials are not one model trained alike."""
    sweep_data["space"][field] = {"low": 0.001, "high": 0.1}
    sweep_data["objectives"] = OBJECTIVES
    sweep = read_sweep(write_yaml(sweep_data))
    finished = [result(0.5, 99.0), result(0.6, 60.0)]
    searcher = OptunaSearcher(
        sweep,
        Optimizer(sweep.space, {"mAP": "max", "NDS": "max", "GFLOPs": "min"}),
        RunFolder(runs=tmp_path, name="one"),
        Mock(**{"finished.results.return_value": finished}),
        Mock(**{"has_to_stop.return_value": False, "stop": None}),
        [],
    )
    assert searcher.suggest("first")["beaten_by"] == told


def test_constraints_on_the_cost() -> None:
    bounds = {"GFLOPs": Bound(max=50.0), "sparsity": Bound(min=0.3), "mAP": Bound(min=0.9)}
    known = {"GFLOPs": 40.0, "sparsity": 0.5}
    assert skip_reason(known, [], bounds) is None
    assert skip_reason({**known, "GFLOPs": 51.0}, [], bounds) == (
        "breaks GFLOPs<=50 before any training: 51"
    )
    assert skip_reason({**known, "sparsity": 0.2}, [], bounds) == (
        "breaks sparsity>=0.3 before any training: 0.2"
    )


def test_least_costs_break_only_what_they_can() -> None:
    """A trial of at least 40 GFLOPs may cost more: it breaks a maximum, and no minimum."""
    least = {"GFLOPs": 40.0}
    assert skip_reason(least, [], {"GFLOPs": Bound(min=45.0, max=60.0)}, least=True) is None
    assert skip_reason(least, [], {"GFLOPs": Bound(max=39.0)}, least=True) == (
        "breaks GFLOPs<=39 before any training: at least 40"
    )
    assert skip_reason(least, [{"GFLOPs": 30.0, "latency_ms": 5.0}], {}, least=True) is None
    assert skip_reason(least, [{"GFLOPs": 30.0}], {}, least=True) is not None
    bounds = {"GFLOPs": Bound(min=45.0, max=39.0)}
    stop = Stop(reason="why", costs=least, looks=[], least=True)
    assert estimate_stopped(stop, OBJECTIVES, bounds, []).excess == {"GFLOPs<=39": 1.0}
    assert give_up_reason([stop], bounds) == (
        "none met GFLOPs<=39 (best value seen: 40); allowed: constraints that the space can meet"
    )


def test_estimate_of_a_stopped_trial() -> None:
    """Finished trials gained 0.1, 0.2 and 0.3 from that rung: 0.2 on average is added."""
    finished = [
        result(0.5, 80.0, [look(0.4)]), result(0.5, 70.0, [look(0.3)]),
        result(0.5, 60.0, [look(0.2)]),
    ]  # fmt: skip
    stop = Stop(reason="why", costs={"GFLOPs": 40.0}, looks=[look(0.1, steps=0), look(0.25)])
    found = estimate_stopped(stop, OBJECTIVES, {"GFLOPs": Bound(max=30.0)}, finished)
    assert found.estimate == pytest.approx({"GFLOPs": 40.0, "mAP": 0.45, "NDS": 0.45})
    assert found.excess == {"GFLOPs<=30": 10.0}
    assert not found.free
    few = estimate_stopped(stop, OBJECTIVES, {}, finished[:2])
    assert few.estimate["mAP"] == 0.25


def test_skipped_for_free() -> None:
    """Without any look it is taken for as good as the best, and counts as no trial."""
    stop = Stop(reason="why", costs={"GFLOPs": 90.0}, looks=[])
    found = estimate_stopped(stop, OBJECTIVES, {}, [result(0.4, 20.0), result(0.6, 60.0)])
    assert found.estimate == {"GFLOPs": 90.0, "mAP": 0.6, "NDS": 0.6}
    assert found.free
    assert estimate_stopped(stop, OBJECTIVES, {}, []).estimate == {"GFLOPs": 90.0}


def test_what_nothing_met() -> None:
    def stop(**costs: float) -> Stop:
        return Stop(reason="dominated before any training", costs=costs, looks=[])

    seen = [stop(GFLOPs=9.0, sparsity=0.2), stop(GFLOPs=7.0, sparsity=0.4)]
    bounds = {"GFLOPs": Bound(max=5.0), "sparsity": Bound(min=0.3), "mAP": Bound(min=0.9)}
    assert give_up_reason(seen, bounds) == (
        "none met GFLOPs<=5 (best value seen: 7); allowed: constraints that the space can meet"
    )
    bounds = {"GFLOPs": Bound(min=8.0, max=5.0), "sparsity": Bound(min=0.5)}
    assert "GFLOPs<=5 (best value seen: 7), sparsity>=0.5 (best value seen: 0.4)" in give_up_reason(
        seen, bounds
    )
    assert give_up_reason(seen, {}) == "the last one dominated before any training"


@pytest.mark.long
def test_a_constraint_that_nothing_meets_ends_the_sweep(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """No trial is trained: at this learning rate one would diverge, and fail."""
    sweep_data["trial"]["fine_tune"] |= {"lr": 1e30, "steps": 50}
    sweep_data |= {"constraints": {"GFLOPs": {"max": 1e-6}}, "workers": 2}
    file = write_yaml(sweep_data)
    assert main(["sweep", str(file), "--name", "no", "--out", str(tmp_path / "runs")]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    run = RunFolder(runs=tmp_path / "runs", name="no")
    told = re.match(r"sparsefront: sweep 'no': (\d+) trials in a row ended before any", last)
    assert told and int(told[1]) in (MOST_IN_A_ROW, MOST_IN_A_ROW + 1), last  # two workers
    stops = [read_end(run, number) for number in range(int(told[1]))]
    least = min(stop.costs["GFLOPs"] for stop in stops if stop is not None)
    assert f"none met GFLOPs<=1e-06 (best value seen: {least:g}); allowed" in last
    assert all(stop is not None and stop.looks == [] for stop in stops)
    assert not [*run.trials.glob("*/failure.json"), *run.trials.glob("*/*.safetensors")]


@pytest.mark.long
def test_trials_beyond_a_constraint_cost_no_training(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """As many trials are trained as were asked for, all within the bound; the others took no
    training and do not count.
    """
    dense = run_trial(first_trial(read_sweep(write_yaml(sweep_data)))).result.metrics["GFLOPs"]
    sweep_data |= {"constraints": {"GFLOPs": {"max": 0.6 * dense}}, "first": [], "trials": 3}
    out = tmp_path / "runs"
    assert main(["sweep", str(write_yaml(sweep_data)), "--name", "some", "--out", str(out)]) == 0
    view = read_view("some", out)
    assert len(view.trials) == 3 and len(view.front.points) + len(view.dominated()) == 3
    skipped = [ended for ended in view.ends if ended.how == "stopped"]
    assert skipped and view.count("failed") == 0
    for ended in skipped:
        assert ended.reason.startswith("breaks GFLOPs<=")
        assert (ended.seconds, ended.cpu_s) == (0.0, 0.0)
        folder = RunFolder(runs=out, name="some").trial_dir(ended.trial_id)
        assert {f.name for f in folder.iterdir()} == {"spec.json", "stopped.json"}


@pytest.mark.long
def test_beyond_a_constraint_crossprune_does_not_run(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """Whichever mask its rounds found would cost too much: at this rate they would diverge."""
    sweep_data["trial"]["cross_prune"] = {"num_rounds": 50, "lr": 1e30}
    sweep_data["space"] = {"allocation.per_modality.camera": {"choices": [0.1, 0.5]}}
    sweep_data["constraints"] = {"GFLOPs": {"max": 1e-6}}
    out = tmp_path / "runs"
    assert main(["sweep", str(write_yaml(sweep_data)), "--name", "no", "--out", str(out)]) == 1
    assert "none met GFLOPs<=1e-06" in capsys.readouterr().err
    run = RunFolder(runs=out, name="no")
    stops = [read_end(run, int(file.parent.name)) for file in run.trials.glob("*/stopped.json")]
    assert len(stops) == 2 and not [*run.trials.glob("*/failure.json")]
    assert all(stop is not None and ": at least " in stop.reason and stop.least for stop in stops)


def test_a_crossprune_trial_under_way_goes_on(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """What the front has found since does not undo a trial that has a rung behind it."""
    sweep_data["trial"]["cross_prune"] = {"num_rounds": 1}
    sweep = read_sweep(write_yaml(sweep_data))
    actor = object.__new__(TrialActor)  # Ray makes them with a logger and a thread
    actor.run_folder = RunFolder(runs=tmp_path, name="one")
    actor.base, actor.shared, actor.sweep = Shared(), Shared(), sweep
    actor.reset_config({"trial_id": 0, "values": {}, "beaten_by": [{"GFLOPs": 1e-9}]})
    folder = actor.run_folder.trial_dir(0)
    folder.mkdir(parents=True)
    (folder / "checkpoint.json").touch()
    assert not actor._beyond_reach(sweep.trial)
    (folder / "checkpoint.json").unlink()
    assert actor._beyond_reach(sweep.trial)
    stop = read_end(actor.run_folder, 0)
    assert stop is not None and stop.reason.startswith("dominated before any training")


@pytest.mark.parametrize("lost", [False, True])
def test_a_process_without_its_gpu_ends(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    lost: bool,
) -> None:  # fmt: skip
    """After a trial's error every later call to the GPU fails: the trial's reason is kept, and no
    other trial comes to this process. CUDA's part is played.
    """
    sweep = read_sweep(write_yaml(sweep_data))
    actor = object.__new__(TrialActor)
    actor.run_folder = RunFolder(runs=tmp_path, name="one")
    actor.shared, actor.sweep = Shared(), sweep
    actor.reset_config({"trial_id": 0, "values": {"no.such": 1}, "beaten_by": []})

    def synchronize() -> None:
        if lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.synchronize", synchronize)
    if lost:
        with pytest.raises(ValueError, match=r"no\.such"):
            actor._looked()
    else:
        assert actor._looked() == {"done": True}
    assert "no.such" in str(read_end(actor.run_folder, 0).reason)


@pytest.mark.long
def test_choices_that_all_break_a_constraint(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """The space comes to its end first."""
    sweep_data["space"] = {"allocation.per_modality.camera": {"choices": [0.1, 0.5, 0.9]}}
    sweep_data["constraints"] = {"sparsity": {"min": 0.99}}
    out = ["--out", str(tmp_path / "runs")]
    assert main(["sweep", str(write_yaml(sweep_data)), "--name", "few", *out]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "3 trials in a row" in last and "none met sparsity>=0.99 (best value seen: 0." in last
