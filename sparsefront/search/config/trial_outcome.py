"""A trial's result with the tensors that it was measured on."""

from __future__ import annotations

from dataclasses import dataclass

from sparsefront.pruning.pruned_weights import PrunedWeights
from sparsefront.search.config.trial_result import TrialResult
from sparsefront.search.config.trial_spec import TrialSpec


@dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """What a finished trial leaves behind.

    spec       the trial, a trade-off turned into its allocation
    requested  the trial as it was requested
    weights    fine-tuned weights, mask and channels left, on the CPU
    """

    result: TrialResult
    spec: TrialSpec
    requested: TrialSpec
    weights: PrunedWeights
