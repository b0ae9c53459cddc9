"""The simulated cluster of docs/benchmarks.md: nothing begins before it can."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import cluster_simulation
from benchmarks.cluster_simulation import Cluster, simulated


def cluster(nodes: int, hours: float) -> Cluster:
    return Cluster(nodes, hours, seed=0, times=np.full(3, 1000.0))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_simulation, "TRIALS", 24)


def test_trials_without_failures_come_in_waves() -> None:
    """24 trials of 1000 s on 8 nodes are three waves, and eight proposals of 0.1 s each."""
    hours, idle = simulated(cluster(8, 1e9))
    assert hours * 3600 == pytest.approx(3000.8, abs=2)
    assert 0 <= idle < 0.01


def test_lost_trial_starts_again_after_its_node_failed() -> None:
    lossy = cluster(8, 0.5)
    hours, idle = simulated(lossy)
    assert lossy.failed and hours * 3600 > 3000.8 and idle > 0.01
    for number, _ in lossy.failed:
        failures = sorted(at for trial, at in lossy.failed if trial == number)
        starts = sorted(at for trial, at in lossy.starts if trial == number)
        assert len(starts) == len(failures) + 1
        assert all(again > failed for failed, again in zip(failures, starts[1:], strict=True))
