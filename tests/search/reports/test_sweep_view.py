"""A sweep as one looks at it, from its folder."""

from __future__ import annotations

from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.reports.sweep_view import baselines_of
from tests.helpers.synthetic_sweep import CAMERA, LIDAR


def test_uniform_baselines_are_known_by_their_values(sweep: Sweep) -> None:
    """The initial grid of a sweep of 8 trials has two points: nothing removed, and 0.9 of
    everything.
    """
    values = {
        0: {CAMERA: 0.0, LIDAR: 0.0}, 1: {CAMERA: 0.9, LIDAR: 0.9}, 2: {CAMERA: 0.9, LIDAR: 0.1},
    }  # fmt: skip
    assert baselines_of(sweep, values, {}) == {0: "uniform", 1: "uniform"}
