"""A sweep on 64 nodes that fail, simulated: how idle is it, how long to the front?

Discrete events over the real optimizer. Trial times are drawn from recorded ones (a run folder's
cpu_s, scaled to a mean of 20 minutes); a node fails after a time drawn from an exponential
distribution and is back after 10 minutes; what it lost is the way since its trial's last rung.
Metrics are those of the analytic allocation problem, 12 layers, along its predicted front.
`python -m benchmarks.cluster_simulation runs/NAME` prints a line for each number of nodes.
"""

from __future__ import annotations

import heapq
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.allocation_problem import MOST, Problem, share
from benchmarks.guided import guess
from sparsefront.search.config.space import Range
from sparsefront.search.optimizer.ask_and_tell import Optimizer, Proposal

TRIALS, MEAN_S = 200, 1200.0
BACK_S = 600.0
RUNGS = (0.0, 0.3, 1.0)
"""Shares of a trial's time at which it is on disk."""
ASK_S = 0.1
"""What the driver takes for a proposal and its records; one after another."""


@dataclass
class Cluster:
    """Nodes that fail, and what became of the trials on them; clocks in seconds.

    starts, failed  trial id and when it started, also again, and when its node failed
    """

    nodes: int
    hours_between_failures: float
    seed: int
    times: np.ndarray
    lost_s: float = 0.0
    busy_s: float = 0.0
    found: list[np.ndarray] = field(default_factory=list)
    share_after: list[tuple[float, float]] = field(default_factory=list)
    starts: list[tuple[int, float]] = field(default_factory=list)
    failed: list[tuple[int, float]] = field(default_factory=list)


class Lost(NamedTuple):
    """A trial whose node failed: when, what it was, its whole time and the share that is kept."""

    at: float
    number: int
    proposal: Proposal
    whole: float
    done: float


def simulated(cluster: Cluster) -> tuple[float, float]:
    """Hours to the end, and the share of node time in which nothing ran."""
    random = np.random.default_rng(cluster.seed)
    problem = Problem.drawn(12, cluster.seed)
    prediction = guess(problem, cluster.seed, 0.5)
    names = list(prediction.curves)
    optimizer = Optimizer(
        {name: Range(low=0.0, high=MOST) for name in names}, {"loss": "min", "cost": "min"},
        seed=cluster.seed, prediction=prediction,
    )  # fmt: skip
    ready = [(0.0, node) for node in range(cluster.nodes)]  # when a node is free
    heapq.heapify(ready)
    ends: list[tuple[float, int, Proposal]] = []
    again: list[Lost] = []
    driver_free, finished, requested, ended_at = 0.0, 0, 0, 0.0
    while finished < TRIALS:
        while ends and (
            not ready or ends[0][0] <= ready[0][0] or (requested >= TRIALS and not again)
        ):
            ended_at, node, proposal = heapq.heappop(ends)
            values = problem.values(np.array([proposal.values[n] for n in names], float))
            optimizer.tell(proposal.trial_id, {"loss": float(values[0]), "cost": float(values[1])})
            cluster.found.append(values)
            finished += 1
            cluster.share_after.append((ended_at, share(np.array(cluster.found), problem)))
            heapq.heappush(ready, (ended_at, node))
        if finished >= TRIALS or (requested >= TRIALS and not again):
            continue
        free_at, node = heapq.heappop(ready)
        if again and again[0].at <= free_at:
            _at, _number, proposal, whole, done = heapq.heappop(again)
        elif requested < TRIALS:
            found = optimizer.ask()
            assert found is not None
            proposal, whole, done = found, float(random.choice(cluster.times)), 0.0
            requested += 1
        else:
            heapq.heappush(ready, (again[0].at, node))  # what is left has not been lost yet
            continue
        cluster.starts.append((proposal.trial_id, max(driver_free, free_at) + ASK_S))
        driver_free = max(driver_free, free_at) + ASK_S
        start, needs = driver_free, whole * (1 - done)
        fails = random.exponential(cluster.hours_between_failures * 3600)
        if fails >= needs:
            cluster.busy_s += needs
            heapq.heappush(ends, (start + needs, node, proposal))
            continue
        reached = done + fails / whole
        kept = max(rung for rung in RUNGS if rung <= reached)
        cluster.busy_s += fails
        cluster.lost_s += (reached - max(kept, done)) * whole
        cluster.failed.append((proposal.trial_id, start + fails))
        lost = Lost(start + fails, proposal.trial_id, proposal, whole, max(kept, done))
        heapq.heappush(again, lost)
        heapq.heappush(ready, (start + fails + BACK_S, node))
    return ended_at / 3600, 1 - cluster.busy_s / (ended_at * cluster.nodes)


def main() -> None:
    folder = Path(sys.argv[1])
    results = [json.loads(f.read_text()) for f in folder.glob("trials/*/result.json")]
    times = np.array([r["timings"].get("cpu_s", r["timings"]["total_s"]) for r in results])
    times *= MEAN_S / times.mean()
    print(f"{TRIALS} trials of {MEAN_S / 60:.0f} minutes on average, {len(times)} recorded times")
    for nodes, hours in ((1, 1e9), (8, 1e9), (64, 1e9), (64, 24.0), (64, 2.0)):
        cluster = Cluster(nodes, hours, seed=0, times=times)
        total, idle = simulated(cluster)
        front = next(t for t, s in cluster.share_after if s >= 0.95) / 3600
        failures = "none" if hours > 1e6 else f"a node every {hours:g} h"
        lost = cluster.lost_s / cluster.busy_s
        print(
            f"{nodes} nodes, failures {failures}: {total:.2f} h, idle {idle:.1%}, work lost "
            f"{lost:.1%}, 95 % of the exact hypervolume after {front:.2f} h, at the end "
            f"{cluster.share_after[-1][1]:.3f}", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
