"""Physical removal: the same model with smaller layers, and its file form, without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from sparsefront.errors import InputError
from sparsefront.pruning.channels.layers import is_window_attention
from sparsefront.pruning.channels.norms import WideLayerNorm
from sparsefront.pruning.weights import is_sparse_convolution

Kept = Mapping[str, Mapping[int, list[int]]]
"""Tensor name -> axis -> positions that are left: all that is needed to rebuild the model."""


def shrink(model: nn.Module, kept: Kept) -> nn.Module:
    """Removes all but the kept positions of every tensor named, in place; returns the model.

    Layers get their new sizes, LayerNorms still normalise over the old width, attention keeps fewer
    heads of the old width. InputError for a name or position that the model lacks.
    """
    widths = {m: m.normalized_shape[0] for m in model.modules() if isinstance(m, nn.LayerNorm)}
    for name, axes in kept.items():
        owner, field = _owner(model, name)
        tensor = getattr(owner, field, None)
        if not torch.is_tensor(tensor):
            raise InputError(f"channels: the model has no tensor {name}")
        smaller = tensor.detach()
        for axis, positions in axes.items():
            if axis >= tensor.ndim or (positions and max(positions) >= tensor.shape[axis]):
                raise InputError(
                    f"channels: {name} is {list(tensor.shape)}, the file of another model"
                )
            index = torch.tensor(positions, dtype=torch.int64, device=tensor.device)
            smaller = smaller.index_select(axis, index)
        smaller = smaller.contiguous()
        if isinstance(tensor, nn.Parameter):
            setattr(owner, field, nn.Parameter(smaller, requires_grad=tensor.requires_grad))
        else:
            setattr(owner, field, smaller)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.LayerNorm) and module.weight is not None:
            if len(module.normalized_shape) == 1 and len(module.weight) != widths[module]:
                wide = WideLayerNorm(
                    module.weight.detach(), module.bias.detach(), widths[module], module.eps
                )
                parent, field = _owner(model, name)
                setattr(parent, field, wide.train(module.training))
        else:
            _update_sizes(module)
    return model


def kept_to_json(kept: Kept) -> dict[str, Any]:
    """The same with string keys, the only ones that JSON has."""
    return {name: {str(a): p for a, p in axes.items()} for name, axes in kept.items()}


def kept_from_json(data: Mapping[str, Mapping[str, list[int]]]) -> Kept:
    return {name: {int(a): list(p) for a, p in axes.items()} for name, axes in data.items()}


def _update_sizes(module: Any) -> None:
    """Sets the sizes that a layer repeats in its attributes from its tensors."""
    if is_window_attention(module):
        module.num_heads = module.relative_position_bias_table.shape[1]
    elif isinstance(module, _ConvNd):
        first, second = module.weight.shape[:2]
        if module.groups > 1:
            if module.groups == module.in_channels:
                module.groups = module.in_channels = module.out_channels = first
        elif isinstance(module, _ConvTransposeNd):
            module.in_channels, module.out_channels = first, second
        else:
            module.out_channels, module.in_channels = first, second
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _BatchNorm) and module.weight is not None:
        module.num_features = len(module.weight)
    elif is_sparse_convolution(module):
        module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[-1]


def _owner(model: nn.Module, name: str) -> tuple[Any, str]:
    path, _, field = name.rpartition(".")
    try:
        return model.get_submodule(path), field
    except AttributeError as error:
        raise InputError(f"channels: the model has no tensor {name}") from error
