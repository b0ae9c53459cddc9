"""How a model is run on a batch: model(batch), where the caller gives nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Forward = Callable[[Any, Any], object]
"""forward(model, batch) runs the model once and returns its outputs."""


def call(model: Any, batch: Any) -> object:
    """The default Forward."""
    return model(batch)
