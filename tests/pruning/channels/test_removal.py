"""Physical removal of channels."""

from __future__ import annotations

import pytest
from torch import nn

from sparsefront.errors import InputError
from sparsefront.pruning.channels.removal import shrink


def test_shrink_refuses_channels_of_another_model() -> None:
    model = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(InputError, match="no tensor 1"):
        shrink(model, {"1.weight": {0: [0]}})
    with pytest.raises(InputError, match="another model"):
        shrink(model, {"0.weight": {0: [7]}})
