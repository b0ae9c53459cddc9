"""Whole sweeps under constraints on the cost, which no training is spent on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.cli.main import main
from sparsefront.search.config.sweep_file import first_trial, read_sweep
from sparsefront.search.optimizer.skipping import MOST_IN_A_ROW
from sparsefront.search.reports.sweep_view import read_view
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_end
from sparsefront.search.trial.run_trial import run_trial


@pytest.mark.long
def test_constraint_that_nothing_meets_ends_the_sweep(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """No trial is trained: at this learning rate one would diverge, and fail."""
    sweep_data["trial"]["fine_tune"] |= {"lr": 1e30, "steps": 50}
    sweep_data |= {"constraints": {"GFLOPs": {"max": 1e-6}}, "workers": 2}
    file = write_yaml(sweep_data)
    assert main(["sweep", str(file), "--name", "no", "--runs", str(tmp_path / "runs")]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    run = RunFolder(runs=tmp_path / "runs", name="no")
    found = re.match(r"sparsefront: sweep 'no': (\d+) trials in a row ended before any", last)
    assert found and int(found[1]) in (MOST_IN_A_ROW, MOST_IN_A_ROW + 1), last  # two workers
    ends = [read_end(run, number) for number in range(int(found[1]))]
    least = min(end.costs["GFLOPs"] for end in ends if end is not None)
    assert f"none met GFLOPs<=1e-06 (best value seen: {least:g}); allowed" in last
    assert all(end is not None and end.status == "stopped" and end.is_free for end in ends)
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
    assert main(["sweep", str(write_yaml(sweep_data)), "--name", "some", "--runs", str(out)]) == 0
    view = read_view("some", out)
    assert len(view.trials) == 3 and len(view.front.points) + len(view.dominated()) == 3
    skipped = [end for end in view.ends if end.status == "stopped"]
    assert skipped and view.count("failed") == 0
    for end in skipped:
        assert end.reason.startswith("breaks GFLOPs<=")
        assert (end.seconds, end.cpu_s) == (0.0, 0.0)
        folder = RunFolder(runs=out, name="some").trial_dir(end.trial_id)
        assert {f.name for f in folder.iterdir()} == {"spec.json", "stopped.json"}


@pytest.mark.long
def test_crossprune_does_not_run_beyond_a_constraint(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """Whichever mask its rounds found would cost too much: at this rate they would diverge."""
    sweep_data["trial"]["cross_prune"] = {"num_rounds": 50, "lr": 1e30}
    sweep_data["space"] = {"allocation.per_modality.camera": {"choices": [0.1, 0.5]}}
    sweep_data["constraints"] = {"GFLOPs": {"max": 1e-6}}
    out = tmp_path / "runs"
    assert main(["sweep", str(write_yaml(sweep_data)), "--name", "no", "--runs", str(out)]) == 1
    assert "none met GFLOPs<=1e-06" in capsys.readouterr().err
    run = RunFolder(runs=out, name="no")
    ends = [read_end(run, int(file.parent.name)) for file in run.trials.glob("*/stopped.json")]
    assert len(ends) == 2 and not [*run.trials.glob("*/failure.json")]
    for end in ends:
        assert end is not None and ": at least " in end.reason and end.costs_are_lower_bounds


@pytest.mark.long
def test_exhausted_space_ends_the_sweep_with_its_reason(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """The space comes to its end first."""
    sweep_data["space"] = {"allocation.per_modality.camera": {"choices": [0.1, 0.5, 0.9]}}
    sweep_data["constraints"] = {"sparsity": {"min": 0.99}}
    out = ["--runs", str(tmp_path / "runs")]
    assert main(["sweep", str(write_yaml(sweep_data)), "--name", "few", *out]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "3 trials in a row" in last and "none met sparsity>=0.99 (best value seen: 0." in last
