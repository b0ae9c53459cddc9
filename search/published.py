"""Answers of `model keys`, `model trace` and `model convert`: published models and checkpoints."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models import NAMES, FusionModel, build
from models.checkpoint import mit, rule, store
from models.mit.model import MitBEVFusion
from models.trace import read_inputs, trace
from search.measure import model_spec


def model_keys(name: str) -> dict[str, dict[str, Any]]:
    """Shape, dtype and kind (param or buffer) of every entry of the state dict; of a published
    model under the original names and in the original layout.
    """
    model = build(model_spec(name))
    if isinstance(model, MitBEVFusion):
        entries = mit.published_entries(model)
    else:
        parameters = dict(model.named_parameters())
        entries = {
            key: mit.Entry(tensor, "param" if key in parameters else "buffer")
            for key, tensor in model.state_dict().items()
        }
    return {
        key: {
            "shape": list(entry.tensor.shape),
            "dtype": str(entry.tensor.dtype).removeprefix("torch."),
            "kind": entry.kind,
        }
        for key, entry in entries.items()
    }


def trace_model(name: str, weights: str, inputs: Path, out: Path) -> int:
    """Writes every stage's output to OUT (.npz, whole or not at all); returns how many arrays."""
    model = published_model(name)
    batch = read_inputs(inputs, model.spec.half_side_m)
    if weights == "rule":
        state = rule.weights_by_rule(mit.published_entries(model))
    else:
        state = mit.read(weights)
    mit.load_into(model, state, weights)
    arrays = trace(model, batch)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp.npz")
    try:
        np.savez(temporary, **arrays)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return len(arrays)


def convert(file: Path, name: str, out: Path) -> mit.Matched:
    """A published checkpoint to our safetensors; returns what was matched."""
    model = published_model(name)
    matched = mit.load_into(model, mit.read(file), file)
    store.save(out, model, {"model": json.dumps(asdict(model_spec(name))), "source": str(file)})
    return matched


def published_model(name: str) -> MitBEVFusion:
    """A published model, fresh. ValueError for one of our own."""
    torch.manual_seed(0)
    model: FusionModel = build(model_spec(name))
    if not isinstance(model, MitBEVFusion):
        published = [n for n in NAMES if n.startswith("mit_")]
        raise ValueError(f"model: value {name!r}; allowed here: {', '.join(published)}")
    return model
