"""Tensors that cross processes as NumPy arrays: Ray's object store lets every worker of a node map
those; tensors themselves are copied into each.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_arrays(tree: Any) -> Any:
    """Tensors of nested mappings as arrays on the CPU; types that NumPy lacks (bfloat16) stay."""
    if isinstance(tree, Mapping):
        return {key: as_arrays(value) for key, value in tree.items()}
    if isinstance(tree, Tensor) and tree.dtype is not torch.bfloat16:
        return tree.detach().cpu().contiguous().numpy()
    return tree


def as_tensors(tree: Any) -> Any:
    """Back again, over the same memory. What Ray has mapped must not be written to: doing so ends
    the process.
    """
    if isinstance(tree, Mapping):
        return {key: as_tensors(value) for key, value in tree.items()}
    if isinstance(tree, np.ndarray):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(tree)
    return tree
