"""A pruned model in a folder, whoever made it: weights, what stays zero, channels that went."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from models import FusionModel, ModelSpec, build
from models.checkpoint import store
from pruning.channels.removal import Kept, kept_from_json, kept_to_json, shrink
from pruning.mask import PruningMask
from scenes.loader import ImageSpec
from search import strict_yaml
from search.exports.allocation_file import hash_of
from search.runs.run_store import load_tensors, read_json, write_json, write_tensors
from search.trials.spec import spec_from_dict

SCHEMA_VERSION = 1
WEIGHTS, MASKS, MANIFEST = "weights.safetensors", "masks.safetensors", "manifest.json"
CHANNELS, SMALL = "channels.json", "small.safetensors"


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """state: full size, pruned weights zero; mask: True = kept, of each prunable weight; channels:
    positions left of each tensor, where whole channels went.
    """

    model: ModelSpec
    image: ImageSpec
    state: dict[str, Tensor]
    mask: dict[str, Tensor]
    channels: Kept = field(default_factory=dict)

    def held(self) -> PruningMask:
        """What training has to hold at zero: removed channels' biases and norms too."""
        tied = {}
        for name, axes in self.channels.items():
            if name not in self.mask and self.state[name].ndim == 1 and not _statistic(name):
                kept = self.state[name].new_zeros(len(self.state[name])).bool()
                kept[axes[0]] = True
                tied[name] = kept
        return PruningMask(self.mask, tied, self.channels)

    def metadata(self) -> dict[str, str]:
        """What `--checkpoint` needs beside the tensors."""
        return {name: json.dumps(asdict(getattr(self, name))) for name in ("model", "image")}


def write_pruned(folder: Path, pruned: Pruned) -> None:
    """WEIGHTS, MASKS and, where channels went, CHANNELS and SMALL: the smaller model's state."""
    metadata = pruned.metadata()
    write_tensors(folder / MASKS, pruned.mask)
    write_tensors(folder / WEIGHTS, pruned.state, metadata)
    if pruned.channels:
        write_json(folder / CHANNELS, kept_to_json(pruned.channels))
        small = deployed(pruned, folder)
        write_tensors(folder / SMALL, dict(small.state_dict()), metadata)


def deployed(pruned: Pruned, source: Path) -> FusionModel:
    """The model without the channels that went, in eval mode."""
    model = build(pruned.model)
    store.load_into(model, pruned.state, source)
    if pruned.channels:
        shrink(model, pruned.channels)
    return model.eval()


def write_manifest(folder: Path, fields: dict[str, Any]) -> None:
    """MANIFEST, last: the fields, then bytes and SHA-256 of every other file of the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    manifest = {
        "schema_version": SCHEMA_VERSION,
        **fields,
        "bytes": {name: path.stat().st_size for name, path in names.items()},
        "sha256": {name: hash_of(path) for name, path in names.items()},
    }
    write_json(folder / MANIFEST, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """ValueError, one line, where a file is missing or was changed, or nobody exported here."""
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"{folder}: not an exported folder; allowed: one that holds {MANIFEST}")
    manifest = dict(read_json(folder / MANIFEST))
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
    return manifest


def read_pruned(folder: Path, manifest: dict[str, Any] | None = None) -> Pruned:
    """Of an export, or of a folder that `sparsefront apply` or `train --from` wrote; files are
    compared with their hashes unless the manifest is given.
    """
    folder = Path(folder)
    manifest = manifest or read_manifest(folder)
    if "spec" in manifest:
        spec = spec_from_dict(manifest["spec"])
        model, image = spec.model, spec.image
    else:
        kinds: Any = ModelSpec
        model = strict_yaml.from_data(manifest["model"], kinds, folder / MANIFEST)
        image = strict_yaml.from_data(manifest["image"], ImageSpec, folder / MANIFEST)
    cut = CHANNELS in manifest["sha256"]
    return Pruned(
        model=model,
        image=image,
        state=load_tensors(folder / WEIGHTS),
        mask=load_tensors(folder / MASKS),
        channels=kept_from_json(read_json(folder / CHANNELS)) if cut else {},
    )


def _statistic(name: str) -> bool:
    """Batch norm's running ones: buffers, which no optimizer moves."""
    return name.endswith(("running_mean", "running_var"))
