"""Export one trial: allocation, masks, pruned weights, report; and reading such a folder back."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from models import FusionModel, build
from models.checkpoint import store
from pruning.channels.removal import Kept, kept_from_json, kept_to_json, shrink
from search.exports.allocation_file import allocation_document
from search.front import ParetoFront, load_front
from search.inspection.plots import save_front
from search.inspection.report import report
from search.run_store import (
    StoredTrial,
    load_tensors,
    read_json,
    write_bytes,
    write_json,
    write_tensors,
)
from search.trials.spec import TrialSpec, spec_from_dict

SCHEMA_VERSION = 1
WEIGHTS, MASKS, MANIFEST = "weights.safetensors", "masks.safetensors", "manifest.json"
CHANNELS, SMALL = "channels.json", "small.safetensors"


def export(name: str, runs: str | Path, pick: str, destination: Path) -> Path:
    """Writes DESTINATION whole or not at all; ValueError where the pick fits no trial.

    allocation.json, masks.safetensors (bool, True = kept), weights.safetensors (state dict, pruned
    weights zero), manifest.json (the trial's spec, metrics, file hashes), report.md, front.png;
    where channels were removed also channels.json (positions left of each tensor) and
    small.safetensors (state dict of the smaller model).
    """
    front = load_front(name, runs)
    trial = front.pick(pick)
    destination = Path(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}."))
    try:
        _write(made, trial, front, pick)
        os.chmod(made, 0o755)
        if destination.is_dir():
            destination.rmdir()  # only where it is empty
        os.rename(made, destination)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return destination


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An exported folder, read back: the trial's spec, full-size state dict, masks, and positions
    left where channels were removed.
    """

    spec: TrialSpec
    state: dict[str, Tensor]
    mask: dict[str, Tensor]
    channels: Kept
    manifest: dict[str, Any]


def load_small(folder: Path) -> FusionModel:
    """The model of an export without its removed channels, in eval mode: built from the spec, cut
    to channels.json, filled from small.safetensors. ValueError where the export has none.
    """
    found = load_export(folder)
    if not found.channels:
        raise ValueError(f"{folder}: no channel was removed; allowed: exports of pattern channel")
    model = build(found.spec.model)
    shrink(model, found.channels)
    store.load_into(model, load_tensors(Path(folder) / SMALL), Path(folder) / SMALL)
    return model.eval()


def load_export(folder: Path) -> Exported:
    """ValueError where a file is missing or was changed."""
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"{folder}: not an exported folder; allowed: one that holds {MANIFEST}")
    manifest = read_json(folder / MANIFEST)
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{folder / MANIFEST}: field schema_version: value "
            f"{manifest.get('schema_version')!r}; allowed: {SCHEMA_VERSION}"
        )
    for name, expected in manifest["sha256"].items():
        if not (folder / name).is_file() or sha256(folder / name) != expected:
            raise ValueError(f"{folder / name}: missing or changed since it was exported")
    try:
        spec = spec_from_dict(manifest["spec"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{folder / MANIFEST}: field spec.{where}: {first['msg']}") from error
    cut = CHANNELS in manifest["sha256"]
    return Exported(
        spec=spec,
        state=load_tensors(folder / WEIGHTS),
        mask=load_tensors(folder / MASKS),
        channels=kept_from_json(read_json(folder / CHANNELS)) if cut else {},
        manifest=manifest,
    )


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(folder: Path, trial: StoredTrial, front: ParetoFront, pick: str) -> None:
    write_json(folder / "allocation.json", allocation_document(trial, front.name))
    write_tensors(folder / MASKS, trial.mask())
    write_tensors(folder / WEIGHTS, trial.state_dict())
    files = [WEIGHTS, MASKS, "allocation.json"]
    if channels := trial.channels():
        write_json(folder / CHANNELS, kept_to_json(channels))
        write_tensors(folder / SMALL, _small_state(trial, channels))
        files += [CHANNELS, SMALL]
    save_front(front, folder / "front.png", marked=trial)
    write_bytes(folder / "report.md", report(trial, front, pick).encode())
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "sweep": front.name,
        "trial": trial.trial_id,
        "pick": pick,
        "metrics": trial.result.metrics,
        "latency": trial.result.latency,
        "spec": trial.spec.to_dict(),
        "sha256": {n: sha256(folder / n) for n in files},
    }
    write_json(folder / MANIFEST, manifest)


def _small_state(trial: StoredTrial, channels: Kept) -> dict[str, Tensor]:
    model = build(trial.spec.model)
    store.load_into(model, trial.state_dict(), trial.path)
    return dict(shrink(model, channels).state_dict())
