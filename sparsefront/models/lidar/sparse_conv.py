"""spconv 2 layers that also run on a machine without a GPU.

spconv's CPU kernels (ConvAlgo.Native) ask for the current CUDA stream in the backward pass even on
the CPU; on a CPU-only torch that call is replaced by a null stream. On import it lists all of
its CUDA kernels, which takes seconds; without a GPU the lists are emptied first. The CUDA path is
untouched.
"""

from __future__ import annotations

import importlib
import logging
import warnings

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

ALGORITHM = ConvAlgo.Native if not torch.cuda.is_available() else None


def _null_stream() -> int:
    return 0


if not torch.cuda.is_available():
    for _module in ("spconv.pytorch.ops", "spconv.pytorch.functional"):
        _loaded = importlib.import_module(_module)
        if hasattr(_loaded, "get_current_stream"):
            setattr(_loaded, "get_current_stream", _null_stream)  # noqa: B010


def submanifold(channels_in: int, channels_out: int, key: str) -> spconv.SparseSequential:
    """3x3x3 submanifold convolution, batch norm, ReLU; layers of one key share coordinates."""
    return spconv.SparseSequential(
        spconv.SubMConv3d(
            channels_in, channels_out, 3, padding=1, bias=False, indice_key=key, algo=ALGORITHM
        ),
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
        spconv.SparseConv3d(
            channels_in,
            channels_out,
            kernel,
            stride=stride,
            padding=padding,
            bias=False,
            indice_key=key,
            algo=ALGORITHM,
        ),
        nn.BatchNorm1d(channels_out, eps=1e-3, momentum=0.01),
        nn.ReLU(),
    )
