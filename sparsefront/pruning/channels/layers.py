"""What each kind of layer does to channels: which axis of which tensor is in, which is out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from sparsefront.pruning.channels.labels import PINNED, spread
from sparsefront.pruning.channels.norms import WideLayerNorm
from sparsefront.pruning.weights import is_sparse_convolution

Rule = Callable[[Any, Any, Any, Any], None]
"""rule(tracer, module, inputs, output) records the channels of the layer and labels its output."""


def rule_of(module: nn.Module) -> Rule | None:
    """The rule of a known layer; None where the functions inside are followed instead."""
    if is_window_attention(module):
        return window_attention
    if isinstance(module, _ConvNd):
        return convolution
    if isinstance(module, nn.Linear):
        return linear
    if isinstance(module, _BatchNorm):
        return batch_norm
    if isinstance(module, (nn.LayerNorm, WideLayerNorm)):
        return layer_norm
    if is_sparse_convolution(module):
        return sparse_convolution
    if isinstance(module, nn.MultiheadAttention):
        return pin_layer
    return None


def is_window_attention(module: nn.Module) -> bool:
    """Swin's: fused qkv, proj, num_heads and a relative_position_bias_table [positions, heads]."""
    wanted = ("qkv", "proj", "num_heads", "relative_position_bias_table")
    return all(hasattr(module, field) for field in wanted)


def convolution(tracer: Any, module: Any, inputs: Any, output: Tensor) -> None:
    """[B, C, ...]: transposed convolutions have their inputs first. Depthwise layers keep their
    channels; other grouped ones stay whole.
    """
    axis = 1 if inputs[0].ndim == module.weight.ndim else 0
    entering = tracer.ties.along(tracer.flow.labels(inputs[0]), axis)
    transposed = isinstance(module, _ConvTransposeNd)
    depthwise = module.groups == module.in_channels == module.out_channels
    if module.groups == 1:
        tracer.add_line(module, "weight", 0 if transposed else 1, entering)
        leaving = tracer.make_channels(
            module, "weight", 1 if transposed else 0, module.out_channels
        )
    elif depthwise and module.groups > 1:
        leaving = entering
        tracer.add_line(module, "weight", 0, leaving)
    else:
        pin_layer(tracer, module, inputs, output)
        return
    if module.bias is not None:
        tracer.add_line(module, "bias", 0, leaving)
    tracer.flow.set(output, spread(leaving, tuple(output.shape), axis))


def linear(tracer: Any, module: Any, inputs: Any, output: Tensor) -> None:
    """[..., C]: the channels come last."""
    entering = tracer.ties.along(tracer.flow.labels(inputs[0]), -1)
    tracer.add_line(module, "weight", 1, entering)
    leaving = tracer.make_channels(module, "weight", 0, module.out_features)
    if module.bias is not None:
        tracer.add_line(module, "bias", 0, leaving)
    tracer.flow.set(output, spread(leaving, tuple(output.shape), output.ndim - 1))


def sparse_convolution(tracer: Any, module: Any, inputs: Any, output: Any) -> None:
    """spconv: features [V, C], weight [out, k0, k1, k2, in]."""
    entering = tracer.ties.along(tracer.flow.labels(inputs[0].features), 1)
    tracer.add_line(module, "weight", module.weight.ndim - 1, entering)
    leaving = tracer.make_channels(module, "weight", 0, module.out_channels)
    if module.bias is not None:
        tracer.add_line(module, "bias", 0, leaving)
    tracer.flow.set(output.features, spread(leaving, tuple(output.features.shape), 1))


def batch_norm(tracer: Any, module: Any, inputs: Any, output: Tensor) -> None:
    """Without scale and shift a zero channel would not stay zero: then its channels stay."""
    channels = tracer.ties.along(tracer.flow.labels(inputs[0]), 1)
    if module.weight is None or module.bias is None:
        tracer.ties.pin(channels)
    for field in ("weight", "bias", "running_mean", "running_var"):
        if getattr(module, field, None) is not None:
            tracer.add_line(module, field, 0, channels)
    tracer.flow.set(output, spread(channels, tuple(output.shape), 1))


def layer_norm(tracer: Any, module: Any, inputs: Any, output: Tensor) -> None:
    """Over the last axis; the smaller norm still divides by the old width (WideLayerNorm)."""
    if len(module.normalized_shape) != 1:
        pin_layer(tracer, module, inputs, output)
        return
    channels = tracer.ties.along(tracer.flow.labels(inputs[0]), -1)
    if module.weight is None or module.bias is None:
        tracer.ties.pin(channels)
    else:
        tracer.add_line(module, "weight", 0, channels)
        tracer.add_line(module, "bias", 0, channels)
    tracer.flow.set(output, spread(channels, tuple(output.shape), output.ndim - 1))


def window_attention(tracer: Any, module: Any, inputs: Any, output: Tensor) -> None:
    """Whole heads: their rows of q, k and v, columns of proj, column of the position table."""
    entering = tracer.ties.along(tracer.flow.labels(inputs[0]), -1)
    width = module.qkv.out_features // 3 // module.num_heads
    tracer.add_line(module.qkv, "weight", 1, entering)
    made = tracer.make_channels(module.qkv, "weight", 0, 3 * module.num_heads * width)
    heads = made[: module.num_heads * width : width]
    rows = heads.repeat_interleave(width)
    tracer.ties.tie(made, rows.repeat(3))
    tracer.add_line(module, "relative_position_bias_table", 1, heads)
    if module.qkv.bias is not None:
        tracer.add_line(module.qkv, "bias", 0, made)
    tracer.add_line(module.proj, "weight", 1, rows)
    leaving = tracer.make_channels(module.proj, "weight", 0, module.proj.out_features)
    if module.proj.bias is not None:
        tracer.add_line(module.proj, "bias", 0, leaving)
    tracer.flow.set(output, spread(leaving, tuple(output.shape), output.ndim - 1))


def pin_layer(tracer: Any, module: Any, inputs: Any, output: Any) -> None:
    """A layer that mixes channels stays whole, and so does what it reads."""
    found = output if isinstance(output, (tuple, list)) else (output,)
    for tensor in inputs:
        if torch.is_tensor(tensor) and tensor.is_floating_point():
            tracer.ties.pin(tracer.flow.labels(tensor))
    for tensor in found:
        if torch.is_tensor(tensor):
            tracer.flow.set(tensor, torch.full((), PINNED).expand(tensor.shape))
