"""Answers of `model keys`, `model trace` and `model convert`: published models and checkpoints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparsefront.errors import InputError
from sparsefront.files.atomic import replacing
from sparsefront.models import NAMES, FusionModel, build
from sparsefront.models.camera.swin import Swin
from sparsefront.models.checkpoint import published_file, rule, store
from sparsefront.models.checkpoint.dialect import Dialect, Entry, published_entries
from sparsefront.models.checkpoint.dialects import dialect_of
from sparsefront.models.checkpoint.swin import load_swin
from sparsefront.models.mit.model import MitBEVFusion
from sparsefront.models.trace import read_inputs, trace
from sparsefront.search.config.model_names import model_spec


def model_keys(name: str) -> dict[str, dict[str, Any]]:
    """Shape, dtype and kind (param or buffer) of every entry of the state dict; of a published
    model under the original names and in the original layout.
    """
    model = build(model_spec(name))
    dialect = dialect_of(name)
    if dialect is not None:
        entries = published_entries(model, dialect)
    else:
        parameters = dict(model.named_parameters())
        entries = {
            key: Entry(tensor, "param" if key in parameters else "buffer")
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
    model, dialect = published_model(name)
    if not isinstance(model, MitBEVFusion):
        traced = [n for n in NAMES if n.startswith("mit_")]
        raise InputError(f"model: value {name!r}; allowed for a trace: {', '.join(traced)}")
    batch = read_inputs(inputs, model.spec.half_side_m)
    if weights == "rule":
        state = rule.weights_by_rule(published_entries(model, dialect))
    else:
        state = published_file.read(weights)
    published_file.load_into(model, dialect, state, weights)
    arrays = trace(model, batch)
    with replacing(out) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)
    return len(arrays)


def convert(file: Path, name: str, out: Path) -> published_file.LoadReport:
    """A published checkpoint to our safetensors; returns what was matched. The conventions of its
    boxes and images go along, as part of the model's spec.
    """
    model, dialect = published_model(name)
    matched = published_file.load_into(model, dialect, published_file.read(file), file)
    store.save(out, model, {"model": json.dumps(asdict(model_spec(name))), "source": str(file)})
    return matched


def convert_swin(file: Path, name: str, out: Path) -> int:
    """A pretrained Swin to the camera backbone of a model, as safetensors for `init`; how many
    entries it gave.
    """
    model, _ = published_model(name)
    backbone = getattr(getattr(model, "camera", None), "backbone", None)
    if not isinstance(backbone, Swin):
        raise InputError(
            f"model: {name!r} has no Swin; allowed: models whose camera backbone is one"
        )
    count = load_swin(backbone, published_file.read(file), file)
    state = {f"camera.backbone.{key}": value for key, value in backbone.state_dict().items()}
    store.save(out, state, {"part": "camera.backbone", "source": str(file)})
    return count


def published_model(name: str) -> tuple[FusionModel, Dialect]:
    """A published model, fresh, and the dialect of its checkpoints. InputError for one of ours."""
    torch.manual_seed(0)
    spec = model_spec(name)
    dialect = dialect_of(name)
    if dialect is None:
        allowed = [n for n in NAMES if dialect_of(n) is not None]
        raise InputError(f"model: value {name!r}; allowed here: {', '.join(allowed)}")
    return build(spec), dialect
