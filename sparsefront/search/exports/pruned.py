"""A pruned model in a folder, whoever made it: weights, what stays zero, channels that went."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from sparsefront.errors import InputError
from sparsefront.files.atomic import read_json, sha256_of, write_json
from sparsefront.files.tensors import write_tensors
from sparsefront.models.checkpoint import store
from sparsefront.plugins import see_folder
from sparsefront.scenes.loader import ImageSpec
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.checkpoint_model import checkpoint_metadata
from sparsefront.search.config.named_classes import AnyModel, NamedTask
from sparsefront.search.config.trial_spec import spec_from_dict
from sparsefront.search.evaluation.deployed import deployed
from sparsefront.search.runs.pruned_files import read_pruned_weights, write_pruned_weights
from sparsefront.search.training.pruned_start import PrunedCheckpoint

SCHEMA_VERSION = 1
MANIFEST, SMALL = "manifest.json", "small.safetensors"


def write_pruned(folder: Path, pruned: PrunedCheckpoint) -> None:
    """The files of runs/pruned_files.py and, where channels went, SMALL: the smaller model's
    state.
    """
    metadata = checkpoint_metadata(pruned.model, pruned.image)
    write_pruned_weights(folder, pruned.weights, metadata)
    if pruned.weights.channels:
        small = deployed_model(pruned, folder)
        write_tensors(folder / SMALL, dict(small.state_dict()), metadata)


def deployed_model(pruned: PrunedCheckpoint, source: Path) -> nn.Module:
    """A new model with these weights and without the channels that went, in eval mode."""
    model = pruned.model.build()
    store.load_into(model, pruned.weights.state, source)
    return deployed(model, pruned.weights.channels).eval()


def write_manifest(folder: Path, fields: dict[str, Any]) -> None:
    """MANIFEST, last: the fields, then bytes and SHA-256 of every other file of the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    manifest = {
        "schema_version": SCHEMA_VERSION,
        **fields,
        "bytes": {name: path.stat().st_size for name, path in names.items()},
        "sha256": {name: sha256_of(path) for name, path in names.items()},
    }
    write_json(folder / MANIFEST, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """InputError, one line, where a file is missing or was changed, or nobody exported here."""
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder}: not an exported folder; allowed: one that holds {MANIFEST}")
    manifest = dict(read_json(folder / MANIFEST))
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{folder / MANIFEST}: field schema_version: value "
            f"{manifest.get('schema_version')!r}; allowed: {SCHEMA_VERSION}"
        )
    if own := manifest.get("own_code", {}).get("folder"):
        see_folder(own)
    for name, expected in manifest["sha256"].items():
        found = sha256_of(folder / name) or "of no such file"
        if found != expected:
            raise InputError(
                f"{folder / name}: missing or changed since it was exported: SHA-256 {found[:15]}; "
                f"allowed: {expected[:15]}, as {MANIFEST} has it"
            )
    return manifest


def read_pruned(folder: Path, manifest: dict[str, Any] | None = None) -> PrunedCheckpoint:
    """Of an export, or of a folder that `sparsefront apply` or `train --from` wrote; files are
    compared with their hashes unless the manifest is given.
    """
    folder = Path(folder)
    manifest = manifest or read_manifest(folder)
    if "spec" in manifest:
        spec = spec_from_dict(manifest["spec"], folder / MANIFEST)
        model, image = spec.architecture, spec.image
    else:
        kind: Any = NamedTask if "task" in manifest else AnyModel
        data = manifest.get("task", manifest.get("model"))
        model = strict_yaml.from_data(data, kind, folder / MANIFEST)
        size = manifest.get("image", asdict(ImageSpec()))
        image = strict_yaml.from_data(size, ImageSpec, folder / MANIFEST)
    return PrunedCheckpoint(model=model, image=image, weights=read_pruned_weights(folder))
