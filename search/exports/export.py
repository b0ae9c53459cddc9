"""Export one trial: allocation, masks, pruned weights, report; and reading such a folder back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from torch import Tensor

from models import FusionModel, build
from models.checkpoint import store
from pruning.channels.removal import Kept, shrink
from search.exports.allocation_file import FILE as ALLOCATION
from search.exports.allocation_file import allocation_document
from search.exports.format_names import Format
from search.exports.formats import (
    ORIGINAL,
    Say,
    require_formats,
    write_deployment,
    write_original,
)
from search.exports.nm_groups import verified
from search.exports.picking import picked
from search.exports.pruned import (
    MANIFEST,
    SMALL,
    WEIGHTS,
    Pruned,
    deployed,
    read_manifest,
    read_pruned,
    write_manifest,
    write_pruned,
)
from search.exports.whole_folder import whole_folder
from search.front import ParetoFront, front_of
from search.inspection.plots import save_front
from search.inspection.report import report
from search.runs.run_store import (
    RunFolder,
    StoredTrial,
    load_tensors,
    run_folder,
    write_bytes,
    write_json,
)
from search.sweep_file import read_sweep
from search.trials.spec import TrialSpec, spec_from_dict


def export(
    name: str,
    runs: str | Path,
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
    run = run_folder(runs, name).require().pulled()
    front = front_of(run)
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
    found = read_pruned(folder)
    if not found.channels:
        raise ValueError(f"{folder}: no channel was removed; allowed: exports of pattern channel")
    model = build(found.model)
    shrink(model, found.channels)
    store.load_into(model, load_tensors(Path(folder) / SMALL), Path(folder) / SMALL)
    return model.eval()


def load_export(folder: Path) -> Exported:
    """ValueError where a file is missing or was changed, or no trial is behind the folder."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    if "spec" not in manifest:
        raise ValueError(
            f"{folder}: no trial measured it; allowed: `sparsefront evaluate --model "
            f"{manifest['model']['name']} --checkpoint {folder / WEIGHTS} --data ROOT`"
        )
    try:
        spec = spec_from_dict(manifest["spec"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{folder / MANIFEST}: field spec.{where}: {first['msg']}") from error
    pruned = read_pruned(folder, manifest)
    return Exported(
        spec=spec,
        state=pruned.state,
        mask=pruned.mask,
        channels=pruned.channels,
        manifest=manifest,
    )


def _write(
    folder: Path, trial: StoredTrial, front: ParetoFront, run: RunFolder, wanted: Wanted
) -> None:
    spec = trial.spec
    pruned = Pruned(
        model=spec.model, image=spec.image, state=trial.state_dict(), mask=trial.mask(),
        channels=trial.channels(),
    )  # fmt: skip
    write_pruned(folder, pruned)
    document = allocation_document(trial, read_sweep(run.sweep_file), run)
    write_json(folder / ALLOCATION, document)
    notes: dict[str, Any] = {}
    if spec.allocation.pattern not in ("unstructured", "channel"):
        removed = trial.result.per_layer_sparsity
        notes["nm"] = verified(build(spec.model), pruned.state, removed, spec.allocation.pattern)
    if "original" in wanted.formats:
        wanted.say(ORIGINAL)
        notes["original"] = write_original(spec.model, pruned.state, folder)
    model = deployed(pruned, trial.path)
    notes |= write_deployment(model, spec, wanted.formats, folder, wanted.say)
    save_front(front, folder / "front.png", marked=trial)
    write_bytes(folder / "report.md", report(trial, front, wanted.pick).encode())
    write_manifest(folder, _fields(trial, front, wanted.pick, notes))


def _fields(
    trial: StoredTrial, front: ParetoFront, pick: str, notes: dict[str, Any]
) -> dict[str, Any]:
    metrics = trial.result.metrics
    return {
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
    }
