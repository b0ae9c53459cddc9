"""Random scores."""

from __future__ import annotations

import torch

from sparsefront.pruning.criteria import Random
from sparsefront.pruning.weights import prunable_weights
from tests.helpers.one_layer import linear, scores


def test_random_scores_leave_the_generator() -> None:
    model = linear([1.0, 2.0], [3.0, 4.0])
    state = torch.get_rng_state()
    assert torch.equal(
        scores(Random(seed=1), model, [], None), scores(Random(seed=1), model, [], None)
    )
    assert not torch.equal(
        scores(Random(seed=1), model, [], None), scores(Random(seed=2), model, [], None)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert list(prunable_weights(model)) == ["weight"]
