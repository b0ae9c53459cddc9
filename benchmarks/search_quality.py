"""How much of a known front a sampler finds (allocation_problem.py): share of the exact
hypervolume, mean over seeds, uniform allocations tried first as in a sweep.
`python -m benchmarks.search_quality 12 50 gp random` (layers, trials, samplers).
"""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks.allocation_problem import MOST, Floats, Problem, share
from benchmarks.driven import searched_with
from search.optimizer import Optimizer
from search.space import Range

SEEDS = 5
LADDER = 4
OBJECTIVES = {"loss": "min", "cost": "min"}


def searched(problem: Problem, sampler: str, trials: int, seed: int, noise: float) -> Floats:
    """True values [trials, 2] of what was tried; the sampler is told the noisy loss."""
    layers = [f"s{i:02d}" for i in range(len(problem.a))]
    first = []
    if sampler != "random":  # as a sweep: uniform allocations are tried first
        steps = [MOST * (1 - (1 - i / (LADDER - 1)) ** 1.5) for i in range(LADDER)]
        first = [dict.fromkeys(layers, step) for step in steps]
    optimizer = Optimizer(
        {name: Range(low=0.0, high=MOST) for name in layers}, OBJECTIVES, None, seed,
        sampler=sampler, first=first,
    )  # fmt: skip
    return searched_with(optimizer, layers, problem, trials, seed, noise)


def one_knob(problem: Problem, trials: int) -> Floats:
    """The same sparsity everywhere, evenly spaced."""
    every = np.linspace(0, MOST, trials)[:, None]
    return problem.values(np.broadcast_to(every, (trials, len(problem.a))))


def quality(layers: int, trials: int, samplers: list[str], noise: float = 0.0) -> None:
    problems = [Problem.drawn(layers, seed) for seed in range(SEEDS)]
    shares = [share(one_knob(p, trials), p) for p in problems]
    print(f"{layers} layers, {trials} trials, one knob: {np.mean(shares):.3f}", flush=True)
    for sampler in samplers:
        started = time.perf_counter()
        shares = [
            share(searched(p, sampler, trials, seed, noise), p) for seed, p in enumerate(problems)
        ]
        each = (time.perf_counter() - started) / SEEDS / trials
        print(
            f"{layers} layers, {trials} trials, noise {noise}, {sampler}: {np.mean(shares):.3f} "
            f"(worst {min(shares):.3f}; {each:.2f} s a trial)",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        quality(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    else:
        every = ["random", "nsga2", "tpe", "gp"]
        quality(12, 50, every)
        quality(12, 50, every, noise=0.02)
        quality(24, 70, every)
