"""Channels innermost: the same weights, the same answers but for their last bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sparsefront.models import BEVFusionSmall, build
from sparsefront.models.channels_last import channels_last
from sparsefront.scenes.loader import ImageSpec
from sparsefront.search.config import strict_yaml
from sparsefront.search.evaluation.synthetic_frame import synthetic_frame


def test_channels_last_keeps_weights_and_outputs(tiny_model: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = build(strict_yaml.from_data(tiny_model, BEVFusionSmall, "tests")).eval()
    frame = synthetic_frame(ImageSpec(height=32, width=64))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with torch.no_grad():
        expected = model(frame)
        channels_last(model)
        found = model(frame)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    wide = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d) and m.in_channels > 1]
    assert wide and all(w.is_contiguous(memory_format=torch.channels_last) for w in wide)
