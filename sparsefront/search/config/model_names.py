"""A model's spec by its name."""

from __future__ import annotations

from sparsefront.errors import InputError
from sparsefront.models import NAMES, ModelSpec
from sparsefront.search.config import strict_yaml


def model_spec(name: str) -> ModelSpec:
    """The default spec of a model. InputError listing the names."""
    if name not in NAMES:
        raise InputError(
            f"model: value {name!r} is unknown{strict_yaml.closest(name, list(NAMES))}; "
            f"allowed: {', '.join(NAMES)}"
        )
    return NAMES[name]()
