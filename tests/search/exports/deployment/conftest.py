"""Models to deploy, with batch norms as after training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsefront.models import BEVFusionSmall, FusionModel, ModelSpec, build
from sparsefront.models.mit.catalogue import FusionDetectorMIT
from sparsefront.search.config import strict_yaml
from tests.helpers.tiny_sweep import TINY_MODEL

TINY_SMALL = strict_yaml.from_data(TINY_MODEL, BEVFusionSmall, "tests")


@pytest.fixture(scope="module")
def published() -> FusionModel:
    return unlike_fresh(FusionDetectorMIT().tiny())


@pytest.fixture(scope="module")
def small() -> FusionModel:
    return unlike_fresh(TINY_SMALL)


@pytest.fixture
def small_anew() -> FusionModel:
    """The same, to be changed."""
    return unlike_fresh(TINY_SMALL)


def unlike_fresh(spec: ModelSpec) -> FusionModel:
    """Batch norms as after training: folding them must matter."""
    torch.manual_seed(0)
    model = build(spec)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return model.eval()
