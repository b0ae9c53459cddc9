"""A searcher of Syne Tune through its own ask and tell."""

from __future__ import annotations

import numpy as np
from syne_tune.config_space import Float, uniform
from syne_tune.optimizer.schedulers.ask_tell_scheduler import AskTellScheduler
from syne_tune.optimizer.schedulers.searchers.searcher import BaseSearcher
from syne_tune.optimizer.schedulers.single_fidelity_scheduler import SingleFidelityScheduler

from benchmarks.allocation_problem import MOST, Floats
from benchmarks.peers.tried import Tried

OBJECTIVES = ["loss", "cost"]


def space(layers: list[str]) -> dict[str, Float]:
    """Each layer's sparsity."""
    return {layer: uniform(0.0, MOST) for layer in layers}


def searched(
    searcher: BaseSearcher, tried: Tried, trials: int, seed: int, shift: float = 0.0
) -> Floats:
    """True values [trials, 2] of what the searcher tried; it is told both objectives + shift."""
    np.random.seed(seed)  # random points come from numpy's global generator
    scheduler = AskTellScheduler(
        SingleFidelityScheduler(
            space(tried.layers), OBJECTIVES, searcher=searcher, random_seed=seed
        )
    )
    for _ in range(trials):
        trial = scheduler.ask()
        told = tried.measure(np.array([trial.config[layer] for layer in tried.layers])) + shift
        scheduler.tell(trial, dict(zip(OBJECTIVES, told.tolist(), strict=True)))
    return tried.values()
