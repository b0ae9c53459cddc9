"""Export one trial: allocation, masks, pruned weights, report; and reading such a folder back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from torch import Tensor

from models import FusionModel, build
from models.checkpoint import store
from pruning.channels.removal import Kept, kept_from_json, kept_to_json, shrink
from search.exports.allocation_file import FILE as ALLOCATION
from search.exports.allocation_file import allocation_document, hash_of
from search.exports.formats import (
    ORIGINAL,
    Format,
    Say,
    require_formats,
    write_deployment,
    write_original,
)
from search.exports.nm_groups import verified
from search.exports.picking import picked
from search.exports.whole_folder import whole_folder
from search.front import ParetoFront, load_front
from search.inspection.plots import save_front
from search.inspection.report import report
from search.run_store import (
    RunFolder,
    StoredTrial,
    load_tensors,
    read_json,
    write_bytes,
    write_json,
    write_tensors,
)
from search.sweep_file import read_sweep
from search.trials.spec import TrialSpec, spec_from_dict

SCHEMA_VERSION = 1
WEIGHTS, MASKS, MANIFEST = "weights.safetensors", "masks.safetensors", "manifest.json"
CHANNELS, SMALL = "channels.json", "small.safetensors"


def export(
    name: str,
    runs: Path,
    pick: str,
    destination: Path,
    formats: tuple[Format, ...] = (),
    say: Say = lambda line: None,
) -> Path:
    """Writes DESTINATION whole or not at all; ValueError where the pick fits no trial, or a format
    not the model.

    allocation.json, masks.safetensors (bool, True = kept), weights.safetensors (state dict, pruned
    weights zero), manifest.json (the trial's spec, metrics, sizes, hashes of all other files),
    report.md, front.png; where channels were removed also channels.json (positions left of each
    tensor) and small.safetensors (state dict of the smaller model). Each format: formats.py.
    """
    run = RunFolder(out=Path(runs), name=name).require()
    front = load_front(name, runs)
    trial = picked(front, run, pick)
    require_formats(trial.spec.model, formats)
    destination = Path(destination)
    with whole_folder(destination) as made:
        _write(made, trial, front, run, Wanted(pick, tuple(dict.fromkeys(formats)), say))
    return destination


class Wanted(NamedTuple):
    """What is asked of an export."""

    pick: str
    formats: tuple[Format, ...]
    say: Say


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
        found = hash_of(folder / name) or "of no such file"
        if found != expected:
            raise ValueError(
                f"{folder / name}: missing or changed since it was exported: SHA-256 {found[:15]}; "
                f"allowed: {expected[:15]}, as {MANIFEST} has it"
            )
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


def _write(
    folder: Path, trial: StoredTrial, front: ParetoFront, run: RunFolder, wanted: Wanted
) -> None:
    sweep = read_sweep(run.sweep_file)
    state, channels = trial.state_dict(), trial.channels()
    write_json(folder / ALLOCATION, allocation_document(trial, sweep, run))
    write_tensors(folder / MASKS, trial.mask())
    write_tensors(folder / WEIGHTS, state, model_metadata(trial.spec))
    model = build(trial.spec.model)
    store.load_into(model, state, trial.path)
    notes: dict[str, Any] = {}
    pattern = trial.spec.allocation.pattern
    if pattern not in ("unstructured", "channel"):
        notes["nm"] = verified(model, state, trial.result.per_layer_sparsity, pattern)
    if "original" in wanted.formats:
        wanted.say(ORIGINAL)
        notes["original"] = write_original(trial.spec.model, state, folder)
    if channels:
        write_json(folder / CHANNELS, kept_to_json(channels))
        shrink(model, channels)
        write_tensors(folder / SMALL, dict(model.state_dict()), model_metadata(trial.spec))
    notes |= write_deployment(model, trial.spec, wanted.formats, folder, wanted.say)
    save_front(front, folder / "front.png", marked=trial)
    write_bytes(folder / "report.md", report(trial, front, wanted.pick).encode())
    write_json(folder / MANIFEST, _manifest(folder, trial, front, wanted.pick, notes))


def _manifest(
    folder: Path, trial: StoredTrial, front: ParetoFront, pick: str, notes: dict[str, Any]
) -> dict[str, Any]:
    metrics = trial.result.metrics
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": front.name,
        "trial": trial.trial_id,
        "pick": pick,
        "metrics": metrics,
        "size": {
            name: {"before": metrics[f"{name}_dense"], "after": metrics[name]}
            for name in ("GMACs", "parameters", "bytes")
            if f"{name}_dense" in metrics
        },
        "latency": trial.result.latency,
        "formats": notes,
        "spec": trial.spec.to_dict(),
        "bytes": {path.relative_to(folder).as_posix(): path.stat().st_size for path in files},
        "sha256": {path.relative_to(folder).as_posix(): hash_of(path) for path in files},
    }


def model_metadata(spec: TrialSpec) -> dict[str, str]:
    """What `--checkpoint` needs beside the tensors: the model's spec and the images' size."""
    data = spec.to_dict()
    return {"model": json.dumps(data["model"]), "image": json.dumps(data["image"])}
