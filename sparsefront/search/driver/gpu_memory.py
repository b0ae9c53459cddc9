"""A worker's GPU: which one Ray gave it, and memory that runs out."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from sparsefront.errors import one_line
from sparsefront.search.config.device import usable_accelerator, why_no_gpu
from sparsefront.search.config.trial_spec import TrialSpec

P = ParamSpec("P")
T = TypeVar("T")
KEPT_BYTES = 64 << 20
"""What a process may hold beyond its beginning between two trials: libraries' workspaces."""


def take_what_ray_gave() -> str | None:
    """Hides every GPU where Ray gave this process none, whatever the node's environment says.
    Returns a line where it gave one that torch does not see.
    """
    import ray

    given: Sequence[int | str] = ray.get_gpu_ids()
    if not given:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return None
    if usable_accelerator() is not None:
        return None
    return f"Ray gave this trial a GPU, but {why_no_gpu()}: it ran on the CPU"


def on_own_gpu(task: Callable[P, T]) -> Callable[P, T]:
    """A Ray task that sees the GPU it was given and no other."""

    @wraps(task)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        take_what_ray_gave()
        return task(*args, **kwargs)

    return run


def out_of_memory_line(error: torch.OutOfMemoryError, spec: TrialSpec) -> str:
    """Why the trial failed, what was allocated, and what to try."""
    batch, smaller = spec.fine_tune.batch_size, spec.fine_tune.batch_size // 2
    ways = []
    if smaller:
        passes = spec.fine_tune.accumulate * -(-batch // smaller)
        ways.append(f"fine_tune.batch_size {smaller} with fine_tune.accumulate {passes}")
    if not spec.checkpoint_activations:
        ways.append("checkpoint_activations: true")
    ways.append("more of the GPU (gpus_per_trial)")
    return (
        f"out of GPU memory with fine_tune.batch_size {batch}: {one_line(error, 300)}; try "
        f"{', or '.join(ways)}"
    )


def allocated() -> int:
    """Bytes of tensors on this process's accelerator; 0 without one."""
    kind = usable_accelerator()
    if kind is None:
        return 0
    return int(torch.get_device_module(kind).memory_allocated())


def give_back() -> int:
    """Collects what is in cycles and returns cached blocks to the GPU; the bytes still in use."""
    kind = usable_accelerator()
    if kind is None:
        return 0
    gc.collect()
    torch.get_device_module(kind).empty_cache()
    return allocated()
