"""The benchmark's problem: its front is the front."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.allocation_problem import MOST, Problem, hypervolume, share


def test_values_and_hypervolume_by_hand() -> None:
    """Two equal layers at s = 0.5, p = 2: loss tanh(2 x 0.25), cost 0.5."""
    half = np.array([0.5, 0.5])
    problem = Problem(a=half, c=half, p=np.array([2.0, 2.0]))
    np.testing.assert_allclose(problem.values(half), [np.tanh(0.5), 0.5])
    assert hypervolume(np.array([[0.5, 0.5]])) == pytest.approx(0.25)


def test_no_allocation_beats_the_front() -> None:
    """A fine grid over two layers reaches the front's hypervolume, and no more."""
    problem = Problem.drawn(2, seed=0)
    line = np.linspace(0, MOST, 400)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    assert 0.998 < share(problem.values(grid), problem) <= 1.0
    found, front = problem.values(grid), problem.front()
    for loss, cost in front[::200]:
        assert not ((found[:, 0] < loss - 1e-9) & (found[:, 1] < cost - 1e-9)).any()
