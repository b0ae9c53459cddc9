"""spconv's Python as it runs on CUDA (MaskImplicitGemm, its autograd functions, its autocast), its
three kernel entry points replaced. Like the kernels these read and write raw memory: what they give
carries no gradient; float32 and float16 alone, int32 indices on the device.
"""

from __future__ import annotations

import types
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from tests.fake_device.accelerator import NAME

dtypes_seen: set[torch.dtype] = set()


def before_spconv() -> None:
    """spconv decorates with torch.cuda.amp when it is imported; here that is the stand-in's."""
    import torch.cuda.amp as amp

    forward, backward = torch.amp.custom_fwd, torch.amp.custom_bwd

    def custom_fwd(fwd: Any = None, *, cast_inputs: Any = None) -> Any:
        if fwd is None:
            return partial(custom_fwd, cast_inputs=cast_inputs)
        return forward(fwd, device_type=NAME, cast_inputs=cast_inputs)

    amp.custom_fwd = custom_fwd
    amp.custom_bwd = lambda bwd: backward(bwd, device_type=NAME)


def install() -> None:
    from spconv.pytorch import ops

    ops.get_indice_pairs_implicit_gemm = pairs
    ops.implicit_gemm = implicit_gemm
    ops.implicit_gemm_backward = implicit_gemm_backward


@torch.no_grad()
def pairs(
    indices: Tensor, batch_size: int, spatial_shape: Any, algo: Any, ksize: Any, stride: Any,
    padding: Any, dilation: Any, out_padding: Any, subm: bool = False, transpose: bool = False,
    is_train: bool = True, **options: Any,
) -> tuple[Any, ...]:  # fmt: skip
    """Output sites and, per kernel offset, the row of every pair; -1 where there is none."""
    from sparsefront.pruning.pairs import output_sites, pairs_of_offset

    assert indices.device.type == NAME, "implicit gemm only support cuda"
    assert indices.dtype == torch.int32
    assert indices.is_contiguous()
    layer = types.SimpleNamespace(
        kernel_size=tuple(ksize), stride=tuple(stride), padding=tuple(padding),
        dilation=tuple(dilation), subm=subm, inverse=False, transposed=transpose,
    )  # fmt: skip
    shape = tuple(spatial_shape)
    out, out_shape = output_sites(layer, indices, shape)
    offsets = list(product(*map(range, layer.kernel_size)))
    none = partial(torch.full, fill_value=-1, dtype=torch.int32, device=indices.device)
    forward, backward = none((len(offsets), len(out))), none((len(offsets), len(indices)))
    for k, offset in enumerate(offsets):
        rows, to = pairs_of_offset(layer, indices, shape, out, out_shape, offset)
        forward[k, to], backward[k, rows] = rows.int(), to.int()
    if subm and not is_train:
        backward = torch.Tensor()
    return out, None, forward, backward, [], [], [], [], [None]


@torch.no_grad()
def implicit_gemm(
    features: Tensor, filters: Tensor, pair_forward: Tensor, pair_mask: Any, argsort: Any,
    num_out: int, masks: Any, is_train: bool, is_subm: bool, timer: Any = None,
    fp32_accum: Any = None, bias: Tensor | None = None, *more: Any, **options: Any,
) -> tuple[Tensor, None, int]:  # fmt: skip
    _check(features, filters)
    kernel = filters.flatten(1, -2).float()  # [out, taps, in]
    out = torch.zeros(num_out, len(kernel), device=features.device)
    for k, row in enumerate(pair_forward):
        to = (row >= 0).nonzero().flatten()
        out.index_add_(0, to, features[row[to].long()].float() @ kernel[:, k].T)
    if bias is not None:
        out += bias
    return out.to(features.dtype), None, -1


@torch.no_grad()
def implicit_gemm_backward(
    features: Tensor, filters: Tensor, slope: Tensor, pair_forward: Tensor, pair_backward: Tensor,
    *more: Any, **options: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    _check(features, filters)
    assert slope.dtype == features.dtype
    kernel = filters.flatten(1, -2).float()
    to_features = torch.zeros_like(features, dtype=torch.float32)
    to_kernel = torch.zeros_like(kernel)
    for k, row in enumerate(pair_forward):
        to = (row >= 0).nonzero().flatten()
        rows = row[to].long()
        to_features.index_add_(0, rows, slope[to].float() @ kernel[:, k])
        to_kernel[:, k] = slope[to].float().T @ features[rows].float()
    return to_features.to(features.dtype), to_kernel.reshape(filters.shape).to(filters.dtype)


def _check(features: Tensor, filters: Tensor) -> None:
    for tensor in (features, filters):
        assert tensor.device.type == NAME, f"spconv's kernels got {tensor.device}"
        if tensor.dtype == torch.bfloat16:
            raise KeyError(tensor.dtype)  # spconv has no name for it
        assert tensor.dtype in (torch.float32, torch.float16), f"no algorithm for {tensor.dtype}"
    assert features.dtype == filters.dtype
    assert filters.is_contiguous()
    dtypes_seen.add(features.dtype)
