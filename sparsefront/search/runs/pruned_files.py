"""A pruned model's tensors in a folder: of a trial, and of an export.

weights.safetensors   the whole state dict at full size, pruned weights zero
masks.safetensors     bool, True = kept, of each prunable weight
channels.json         positions left along each axis of each tensor, where channels were removed
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sparsefront.files.atomic import read_json, write_json
from sparsefront.files.tensors import read_tensors, write_tensors
from sparsefront.pruning.channels.removal import kept_from_json, kept_to_json
from sparsefront.pruning.pruned_weights import PrunedWeights

WEIGHTS, MASKS, CHANNELS = "weights.safetensors", "masks.safetensors", "channels.json"
MASKS_0_1 = "mask.safetensors"
"""What a trial's masks were called before version 0.2."""


def write_pruned_weights(
    folder: Path, weights: PrunedWeights, metadata: Mapping[str, str] | None = None
) -> None:
    """Each file whole or not at all; `metadata` goes with the weights."""
    write_tensors(folder / MASKS, weights.mask)
    write_tensors(folder / WEIGHTS, weights.state, metadata)
    if weights.channels:
        write_json(folder / CHANNELS, kept_to_json(weights.channels))


def read_pruned_weights(folder: Path) -> PrunedWeights:
    """InputError for a missing or corrupt file."""
    masks = folder / MASKS
    if not masks.is_file() and (folder / MASKS_0_1).is_file():
        masks = folder / MASKS_0_1
    channels = folder / CHANNELS
    return PrunedWeights(
        state=read_tensors(folder / WEIGHTS),
        mask=read_tensors(masks),
        channels=kept_from_json(read_json(channels)) if channels.is_file() else {},
    )
