"""The verbs `sparsefront model ...`: the catalogue and published checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, subcommand

from sparsefront.search.cli.output import as_json


@dataclass(frozen=True, kw_only=True)
class ModelList:
    """Names of the models: the built-in ones, and those of installed packages."""

    json: bool = False
    """One JSON document on stdout."""

    def run(self) -> str:
        from sparsefront.models import NAMES
        from sparsefront.plugins import KINDS, entry_points

        named = entry_points(KINDS["model"])
        if self.json:
            return as_json([*NAMES, *named])
        return "\n".join([*NAMES, *(f"{name}  ({path})" for name, path in named.items())])


@dataclass(frozen=True, kw_only=True)
class ModelKeys:
    """Names, shapes and types of a model's state dict."""

    name: Positional[str]
    """Model name."""
    json: bool = False
    """One JSON document on stdout."""

    def run(self) -> str:
        from sparsefront.search.cli import published_models

        keys = published_models.model_keys(self.name)
        if self.json:
            return as_json(keys)
        return "\n".join(f"{k}  {v['shape']}  {v['dtype']}  {v['kind']}" for k, v in keys.items())


@dataclass(frozen=True, kw_only=True)
class ModelTrace:
    """Write the output of every stage of a published model for one frame."""

    name: Positional[str]
    """Model name."""
    weights: str = "rule"
    """"rule" (a function of names and shapes), or a published checkpoint."""
    inputs: Path
    """Frame (.npz): images, points, calibration, boxes."""
    out: Path
    """File to write (.npz)."""

    def run(self) -> str:
        from sparsefront.search.cli import published_models

        count = published_models.trace_model(self.name, self.weights, self.inputs, self.out)
        return f"{self.out}: {count} arrays"


@dataclass(frozen=True, kw_only=True)
class ModelConvert:
    """Read a published checkpoint and write it as safetensors; says what was matched."""

    file: Positional[Path]
    """Checkpoint (.pth; nothing but tensors is unpickled)."""
    model: str
    """Model name."""
    out: Path
    """safetensors file to write."""
    swin: bool = False
    """FILE is a pretrained Swin (official or mmdetection's naming): write the camera backbone."""

    def run(self) -> str:
        from sparsefront.search.cli import published_models

        if self.swin:
            count = published_models.convert_swin(self.file, self.model, self.out)
            return f"{self.out}: {count} entries of the camera backbone loaded"
        return f"{self.out}: {published_models.convert(self.file, self.model, self.out)}"


@dataclass(frozen=True, kw_only=True)
class Model:
    """The catalogue of models."""

    verb: (
        Annotated[ModelList, subcommand("list")]
        | Annotated[ModelKeys, subcommand("keys")]
        | Annotated[ModelTrace, subcommand("trace")]
        | Annotated[ModelConvert, subcommand("convert")]
    )

    def run(self) -> str:
        return self.verb.run()
