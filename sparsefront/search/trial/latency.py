"""How long the deployed model takes for a frame, beside the dense one; only where asked for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import nn

from sparsefront.models.channels_last import channels_last
from sparsefront.pruning.latency import Latency, latency
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.tasks.choose import task_of

Timed = dict[str, Latency]
"""Of the "deployed" and of the "dense" model; empty where not asked for."""


def time_passes(spec: TrialSpec, model: nn.Module, deployed: nn.Module, device: str) -> Timed:
    """Forward passes to raw head outputs, one frame a pass, over the frames that MACs are counted
    on. The dense model is timed apart only where channels were removed: zeros make nothing faster.
    """
    if spec.latency is None:
        return {}
    task = task_of(spec)
    batches = [task.to_device(batch, device) for batch in task.cost_batches(spec.cost_frames)]
    for network in (model, deployed):  # one layout, or they would be compared by that
        channels_last(network)

    def timed(which: nn.Module) -> Latency:
        assert spec.latency is not None
        repeats, warmup = spec.latency.repeats, spec.latency.warmup
        return latency(which, batches, task.forward, repeats=repeats, warmup=warmup)

    found = timed(deployed)
    return {"deployed": found, "dense": found if deployed is model else timed(model)}


def latency_metrics(timed: Timed) -> dict[str, float]:
    """latency_ms and latency_ms_dense: medians; nothing where nothing was timed."""
    names = {"deployed": "latency_ms", "dense": "latency_ms_dense"}
    return {names[which]: found.median_ms for which, found in timed.items()}


def latency_record(timed: Timed) -> dict[str, dict[str, Any]]:
    """JSON-ready: median and quartiles in ms, passes, device, and all of it as text."""
    return {which: {**asdict(found), "text": str(found)} for which, found in timed.items()}
