"""allocation.json: how sparse each modality and layer is, and how that was found.

docs/export.md says what each field means; docs/allocation.schema.json is the JSON schema.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict

from sparsefront.errors import InputError
from sparsefront.files.atomic import read_json, sha256_of
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.space import value_of
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import StoredTrial

SCHEMA_VERSION = 3
FILE = "allocation.json"


@dataclass(frozen=True, kw_only=True)
class LayerShare:
    """Of one layer's weights: how many there are, the fraction removed."""

    weights: int
    removed: float

    def __post_init__(self) -> None:
        if self.weights < 1:
            raise InputError(f"weights: value {self.weights!r}; allowed: 1 and above")
        if not 0.0 <= self.removed <= 1.0:
            raise InputError(f"removed: value {self.removed!r}; allowed: 0 to 1")


@dataclass(frozen=True, kw_only=True)
class FoundBy:
    """Which trial found an allocation, with what.

    searched    dotted field of the trial -> its value: what the search varied
    code        commit of the folder that the sweep was launched from, and whether it was dirty
    checkpoint  the dense weights: path, and SHA-256 where the file was there
    data        training and evaluation frames, the images' size, batches that were scored on
    seeds       of the sweep and of the trial
    versions    of the trial's process, with its device
    metrics     what the trial measured
    """

    sweep: str
    trial: int
    searched: dict[str, Any]
    code: dict[str, Any] | None
    checkpoint: dict[str, str | None]
    data: dict[str, Any]
    seeds: dict[str, int]
    versions: dict[str, str]
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class AllocationFile:
    """What allocation.json holds; fractions are of weights REMOVED.

    per_modality  as achieved
    per_layer     as achieved, of every prunable weight: what `sparsefront apply` takes over
    requested     the allocation that was resolved into these; `asked` in version 2
    model         the model's spec; of a task of one's own its name
    task          the task's spec, where the trial had one of its own
    criterion     whose scores chose the weights
    found_by      the trial; None where nobody searched
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    schema_version: Literal[3]
    per_modality: dict[str, float]
    per_layer: dict[str, LayerShare]
    requested: SparsityAllocation
    model: dict[str, Any]
    criterion: dict[str, Any]
    found_by: FoundBy | None = field(default=None)
    task: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, removed in self.per_modality.items():
            if not 0.0 <= removed <= 1.0:
                raise InputError(f"per_modality.{name}: value {removed!r}; allowed: 0 to 1")
        if not self.per_layer:
            raise InputError("per_layer: is empty; allowed: an entry a prunable weight")
        for part in ("model", "criterion"):
            if not isinstance(getattr(self, part).get("name"), str):
                raise InputError(f"{part}: has no name; allowed: the fields of a {part}")


def read_allocation(path: Path) -> AllocationFile:
    """InputError, one line with file, field and value, for anything else."""
    data = read_json(path)
    if not isinstance(data, dict):
        raise InputError(f"{path}: holds no JSON object; allowed: an allocation.json")
    version = data.get("schema_version")
    if version == 2 and "asked" in data:
        data = {("requested" if name == "asked" else name): v for name, v in data.items()}
        data["schema_version"] = version = SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: field schema_version: value {version!r}; allowed: {SCHEMA_VERSION}"
        )
    return strict_yaml.from_data(data, AllocationFile, path)


def allocation_document(trial: StoredTrial, sweep: Sweep, run: RunFolder) -> dict[str, Any]:
    """The allocation of a trial as plain data, `read_allocation`'s."""
    spec = trial.spec.to_dict()
    layers = trial.result.cost.get("per_layer", {})
    return {
        "schema_version": SCHEMA_VERSION,
        "per_modality": trial.result.per_modality_sparsity,
        "per_layer": {
            name: {"weights": layers[name]["parameters"], "removed": removed}
            for name, removed in trial.result.per_layer_sparsity.items()
        },
        "requested": spec["allocation"],
        "model": spec["model"] or {"name": spec["task"]["name"]},
        **({"task": spec["task"]} if spec["task"] else {}),
        "criterion": spec["criterion"],
        "found_by": {
            "sweep": run.name,
            "trial": trial.trial_id,
            "searched": searched(trial, sweep),
            "code": _launch(run).get("code"),
            "checkpoint": {"path": spec["checkpoint"], "sha256": _cached_hash(spec["checkpoint"])},
            "data": {
                name: spec[name]
                for name in ("train", "val", "image", "score_batches")
                if spec[name] is not None and (spec["task"] is None or name == "score_batches")
            },
            "seeds": {"sweep": sweep.seed, "trial": trial.spec.seed},
            "versions": trial.result.environment,
            "metrics": trial.result.metrics,
        },
    }


def searched(trial: StoredTrial, sweep: Sweep) -> dict[str, Any]:
    """The value of each field that the sweep searches."""
    found = {}
    for name in sweep.space:
        try:
            found[name] = value_of(trial.requested, name)
        except InputError:
            continue  # of a part that this trial has not, such as a trade-off not kept before
    return found


def _cached_hash(path: str) -> str | None:
    """A sweep has one checkpoint, or a few, and a document a trial."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return _hash_at(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _hash_at(path: str, changed: int, size: int) -> str | None:
    return sha256_of(path)


def _launch(run: RunFolder) -> dict[str, Any]:
    return dict(read_json(run.launch_file)) if run.launch_file.is_file() else {}


if __name__ == "__main__":
    print(json.dumps(strict_yaml.adapter(AllocationFile).json_schema(), indent=2))
