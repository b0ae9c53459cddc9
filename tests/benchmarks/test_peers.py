"""The methods the search is compared with, those that Optuna alone gives, and their table."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.allocation_problem import MOST, Problem, hypervolume
from benchmarks.peers import PEERS, __main__
from benchmarks.peers.tried import Tried

TRIALS = 13  # past the random start of each but NSGA-II


@pytest.mark.parametrize("name", ["random", "nsga2", "tpe", "gp", "sparsefront"])
def test_peer_gives_what_it_tried_and_repeats_by_seed(name: str) -> None:
    search = importlib.import_module(PEERS[name]).search
    problem = Problem.drawn(3, seed=0)
    found = search(problem, TRIALS, 0, 0.02)
    assert found.shape == (TRIALS, 2)
    assert len(np.unique(found, axis=0)) > TRIALS // 2
    (least, dearest), (most, cheapest) = problem.values(np.array([[0.0] * 3, [MOST] * 3]))
    assert ((least <= found[:, 0]) & (found[:, 0] <= most)).all()
    assert ((cheapest <= found[:, 1]) & (found[:, 1] <= dearest)).all()
    np.testing.assert_array_equal(found, search(problem, TRIALS, 0, 0.02))
    assert not np.array_equal(found, search(problem, TRIALS, 1, 0.02))


def test_noise_is_measured_and_not_kept() -> None:
    problem = Problem.drawn(3, seed=0)
    tried, s = Tried(problem, seed=0, noise=0.1), np.array([0.1, 0.5, 0.9])
    measured = np.array([tried.measure(s) for _ in range(200)])
    np.testing.assert_array_equal(tried.values(), np.tile(problem.values(s), (200, 1)))
    np.testing.assert_array_equal(measured[:, 1], tried.values()[:, 1])
    assert 0.08 < measured[:, 0].std() < 0.12


def test_shares_are_of_the_first_trials(tmp_path: Path) -> None:
    runs = __main__.measured("random", 3, 25, 0.0, tmp_path)
    written = (tmp_path / "random-3x25-noise0.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == runs
    assert [run["seed"] for run in runs] == list(range(__main__.SEEDS))
    problem = Problem.drawn(3, seed=4)
    found = importlib.import_module(PEERS["random"]).search(problem, 25, 4, 0.0)
    expected = {n: hypervolume(found[:n]) / hypervolume(problem.front()) for n in (20, 25)}
    assert runs[4]["shares"] == {str(n): round(value, 4) for n, value in expected.items()}


def test_missing_package_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "botorch", None)  # as where it is not installed
    monkeypatch.delitem(sys.modules, PEERS["nehvi"], raising=False)
    assert __main__.measured("nehvi", 3, 25, 0.0, tmp_path) == []
    assert capsys.readouterr().out == "nehvi: left out, package botorch is not installed\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["12", "50", "nehvo"], "names: value 'nehvo'; allowed: one_knob, random, "),
        (["12", "0"], "trials: value 0; allowed: 1 and above"),
        (["12", "50", "--noise", "-1"], "--noise: value -1.0; allowed: 0 and above"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    arguments: list[str],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["peers", *arguments])
    with pytest.raises(SystemExit) as stopped:
        __main__.arguments()
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.startswith(line) and error.count("\n") == 1


def test_resumed_runs_are_those_of_one_go(tmp_path: Path) -> None:
    """Two of five seeds are there: the others are added, and give what a run in one go gives."""
    whole = __main__.measured("random", 3, 25, 0.0, tmp_path)
    file = tmp_path / "random-3x25-noise0.jsonl"
    left = file.read_text().splitlines(keepends=True)[:2]
    file.write_text("".join(left))
    resumed = __main__.measured("random", 3, 25, 0.0, tmp_path, resume=True)
    assert file.read_text().splitlines(keepends=True)[:2] == left
    assert [run["seed"] for run in resumed] == [0, 1, 2, 3, 4]
    assert [run["shares"] for run in resumed] == [run["shares"] for run in whole]
