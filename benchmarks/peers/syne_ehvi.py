"""Syne Tune's expected hypervolume improvement (BoTorch's qLogEHVI; 3 random points first).

Two things of version 0.16 are worked around: it mixes float32 and float64, which BoTorch 0.18
refuses; and its reference point is fixed at 2 after the objectives' signs are turned, which is no
point that a loss or a cost can beat. Told both less 3, that point is our (1, 1).
"""

from __future__ import annotations

import warnings

import torch
from gpytorch.utils.warnings import NumericalWarning
from syne_tune.optimizer.schedulers.multiobjective.expected_hyper_volume_improvement import (
    ExpectedHyperVolumeImprovement,
)

from benchmarks.allocation_problem import Floats, Problem
from benchmarks.peers.syne_ask_tell import searched, space
from benchmarks.peers.tried import Tried

PACKAGE = "syne-tune"
SHIFT = -3.0


def search(problem: Problem, trials: int, seed: int, noise: float) -> Floats:
    """True values [trials, 2] of what was tried."""
    tried = Tried(problem, seed, noise)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        searcher = ExpectedHyperVolumeImprovement(space(tried.layers), random_seed=seed)
        with warnings.catch_warnings():  # its fixed noise, 1e-8, is raised to 1e-6 at every fit
            warnings.simplefilter("ignore", NumericalWarning)
            return searched(searcher, tried, trials, seed, SHIFT)
    finally:
        torch.set_default_dtype(usual)
