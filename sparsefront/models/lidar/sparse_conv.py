"""spconv 2 layers that compute where their input is, on the GPU or on the CPU.

spconv's fast kernels take CUDA tensors alone, its native ones (ConvAlgo.Native) either. These ask
for the current CUDA stream in the backward pass even on the CPU; on a machine without a GPU that
call is replaced by a null stream. On import spconv lists all of its CUDA kernels, which takes
seconds; without a GPU the lists are emptied first.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import Any

import torch
from torch import nn

with warnings.catch_warnings():  # spconv 2.3 decorates with names that torch has since renamed
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)  # warns about the same
    from spconv import core
    from spconv.core import ConvAlgo

    if not torch.cuda.is_available():
        core.ALL_NATIVE_PARAMS.clear()
        core.ALL_IMPGEMM_PARAMS.clear()
    import spconv.pytorch as spconv

NATIVE = ConvAlgo.Native


def _null_stream() -> int:
    return 0


if not torch.cuda.is_available():
    for _module in ("spconv.pytorch.ops", "spconv.pytorch.functional"):
        _loaded = importlib.import_module(_module)
        if hasattr(_loaded, "get_current_stream"):
            setattr(_loaded, "get_current_stream", _null_stream)  # noqa: B010


class _WhereItsInputIs(spconv.SparseModule):
    """The algorithm by the input's device; spconv itself fixes one when the layer is made."""

    algo: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._fast = self.algo

    def forward(self, x: Any, add_input: Any = None) -> Any:
        self.algo = NATIVE if x.features.device.type == "cpu" else self._fast
        return super().forward(x, add_input)


class SubMConv3d(_WhereItsInputIs, spconv.SubMConv3d):
    """spconv's submanifold convolution."""


class SparseConv3d(_WhereItsInputIs, spconv.SparseConv3d):
    """spconv's strided convolution."""


def submanifold(channels_in: int, channels_out: int, key: str) -> spconv.SparseSequential:
    """3x3x3 submanifold convolution, batch norm, ReLU; layers of one key share coordinates."""
    return spconv.SparseSequential(
        SubMConv3d(channels_in, channels_out, 3, padding=1, bias=False, indice_key=key),
        nn.BatchNorm1d(channels_out, eps=1e-3, momentum=0.01),
        nn.ReLU(),
    )


def strided(
    channels_in: int,
    channels_out: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
    key: str,
) -> spconv.SparseSequential:
    """Strided sparse convolution, whose active sites are new ones, batch norm, ReLU."""
    return spconv.SparseSequential(
        SparseConv3d(
            channels_in,
            channels_out,
            kernel,
            stride=stride,
            padding=padding,
            bias=False,
            indice_key=key,
        ),
        nn.BatchNorm1d(channels_out, eps=1e-3, momentum=0.01),
        nn.ReLU(),
    )
