"""Activations that are computed again: the same loss, gradients and norm statistics."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.models import build
from sparsefront.models.recompute import RecomputedBlock, recompute_backbone
from tests.helpers.catalogue import MODELS, batches_for, smallest


@pytest.mark.parametrize("name", MODELS)
def test_recomputed_backbone_gives_the_same_step(
    name: str, tiny_root: Path, tiny_model: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    plain = build(smallest(name, tiny_model)).train()
    again = copy.deepcopy(plain)
    if name == "avod-fpn" or not any(n.startswith("camera.") for n, _ in plain.named_modules()):
        with pytest.raises(InputError, match="checkpoint_activations: value True"):
            recompute_backbone(again)
        return
    recompute_backbone(again)
    batch = batches_for(tiny_root, name, tiny_model)[0]
    losses = []
    for model in (plain, again):
        torch.manual_seed(1)  # dropout and drop path
        loss = model.loss(batch)
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == losses[1]
    for (key, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), key
        assert one.grad is None or torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-6), key
    state = again.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in plain.state_dict().items())
    blocks = [m for m in again.modules() if isinstance(m, RecomputedBlock) and m.recompute]
    norms = [m for b in blocks for m in b.modules() if hasattr(m, "momentum")]
    assert blocks and all(norm.momentum for norm in norms)


def test_fewer_activations_are_kept(tiny_root: Path, tiny_model: dict[str, Any]) -> None:
    """Bytes that autograd keeps between the passes."""
    batch = batches_for(tiny_root, "bevfusion-small", tiny_model)[0]
    kept = []
    for again in (False, True):
        torch.manual_seed(0)
        spec = replace(smallest("bevfusion-small", tiny_model), image_blocks=(3, 3, 3))
        model: Any = build(spec).train()
        if again:
            recompute_backbone(model)
        seen: dict[int, int] = {}

        def keep(tensor: Any, seen: dict[int, int] = seen) -> Any:
            seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.camera.backbone(batch.images.flatten(0, 1))
        kept.append(sum(seen.values()))
    assert kept[1] < 0.6 * kept[0]  # the stem's stay
