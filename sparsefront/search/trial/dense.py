"""What the dense checkpoint itself scores and costs, as every trial is measured: what pruning is
compared with.
"""

from __future__ import annotations

import torch

from sparsefront.pruning.pruned_weights import PrunedWeights
from sparsefront.pruning.weights import prunable_weights
from sparsefront.search.config.own_metrics import with_own_metrics
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.trial.latency import latency_metrics
from sparsefront.search.trial.run_trial import measure, metrics_of, time_again
from sparsefront.search.trial.shared import (
    Shared,
    dense_model,
    dense_state,
    state_key,
    trained_spec,
)


def dense_metrics(spec: TrialSpec) -> dict[str, float]:
    """The metrics of a trial (TrialResult.metrics) that prunes nothing, trains nothing and leaves
    the norms as they are.
    """
    shared = Shared(state={state_key(spec): dense_state(spec)})
    own = trained_spec(spec, shared)
    model = dense_model(own, shared)
    weights = PrunedWeights(
        state=model.state_dict(),
        mask={n: torch.ones_like(w, dtype=torch.bool) for n, w in prunable_weights(model).items()},
    )
    scores, cost = measure(own, weights)
    timed = latency_metrics(time_again(own, weights))
    known = {**metrics_of(scores, cost), **timed, "sparsity": 0.0}
    return with_own_metrics(own, known, scores.per_class)
