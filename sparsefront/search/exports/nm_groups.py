"""N:M patterns in exported weights: every group counted, and where hardware gains from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sparsefront.pruning.nm_pattern import input_axis, parse_pattern
from sparsefront.pruning.weights import is_sparse_convolution

WIDE = 256
"""Input channels from which TensorRT's sparse kernels tend to gain."""


def check_nm_groups(
    model: nn.Module, state: Mapping[str, Tensor], per_layer: Mapping[str, float], pattern: str
) -> dict[str, Any]:
    """Counts of the groups of M inputs in every layer that the pattern holds in, and `pays`, which
    of these layers are wide and dense enough for sparse tensor cores. AssertionError for a group
    with more than N weights that are not zero.
    """
    kept, block = parse_pattern(pattern)
    layers: dict[str, int] = {}
    pays = []
    for name, removed in per_layer.items():
        if removed == 0:
            continue
        axis = input_axis(model, name)
        weight = state[name].movedim(axis, -1)
        groups = weight.unflatten(-1, (weight.shape[-1] // block, block))
        most = int((groups != 0).sum(-1).max())
        assert most <= kept, f"{name}: {most} of {block} weights of a group are not zero"
        layers[name] = groups[..., 0].numel()
        owner = model.get_submodule(name.rpartition(".")[0])
        if not is_sparse_convolution(owner) and weight.shape[-1] >= WIDE:
            pays.append(name)
    return {
        "pattern": pattern,
        "groups": layers,
        "pays": pays,
        "note": (
            f"every group has at most {kept} of {block} weights. Sparse tensor cores take 2:4 in "
            f"dense convolutions and linear layers, and gain from about {WIDE} input channels "
            "(`pays`); no runtime takes it in sparse convolutions"
        ),
    }
