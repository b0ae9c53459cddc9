"""Which model a checkpoint of ours is of, and for which images: JSON in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from sparsefront.models import ModelSpec
from sparsefront.plugins import kind_of
from sparsefront.scenes.loader import ImageSpec
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.named_classes import AnyModel, Architecture


def checkpoint_metadata(model: Architecture, image: ImageSpec) -> dict[str, str]:
    """What `--checkpoint` needs beside the tensors: the model, or the task that builds it."""
    own = json.dumps(asdict(cast(Any, model)), default=str)
    if kind_of(model) == "task":
        return {"task": own}
    return {"model": own, "image": json.dumps(asdict(image))}


def model_in(metadata: Mapping[str, str], source: str | Path) -> ModelSpec | None:
    """None where the metadata name no model. InputError for one that is not in the catalogue."""
    kinds: Any = AnyModel
    return _read(metadata, "model", kinds, source)


def image_in(metadata: Mapping[str, str], source: str | Path) -> ImageSpec | None:
    """None where the metadata name no size."""
    return _read(metadata, "image", ImageSpec, source)


def _read(metadata: Mapping[str, str], name: str, kind: Any, source: str | Path) -> Any:
    if name not in metadata:
        return None
    return strict_yaml.from_data(json.loads(metadata[name]), kind, source)
