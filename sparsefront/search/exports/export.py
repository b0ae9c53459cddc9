"""Export one trial: allocation, masks, pruned weights, report; and reading such a folder back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from sparsefront.errors import InputError
from sparsefront.files.atomic import read_json, write_bytes, write_json
from sparsefront.files.tensors import read_tensors
from sparsefront.files.whole_folder import whole_folder
from sparsefront.models.checkpoint import store
from sparsefront.pruning.channels.removal import shrink
from sparsefront.pruning.pruned_weights import PrunedWeights
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_spec import TrialSpec, spec_from_dict
from sparsefront.search.exports.format_names import Format
from sparsefront.search.exports.formats import (
    ORIGINAL,
    Say,
    catalogue_model,
    require_formats,
    write_deployment,
    write_original,
)
from sparsefront.search.exports.nm_groups import check_nm_groups
from sparsefront.search.exports.picking import pick_trial
from sparsefront.search.exports.pruned import (
    MANIFEST,
    SMALL,
    deployed_model,
    read_manifest,
    read_pruned,
    write_manifest,
    write_pruned,
)
from sparsefront.search.exports.report import report
from sparsefront.search.reports.front_picture import save_front
from sparsefront.search.runs.allocation_file import FILE as ALLOCATION
from sparsefront.search.runs.allocation_file import allocation_document
from sparsefront.search.runs.front import ParetoFront, front_of
from sparsefront.search.runs.pruned_files import WEIGHTS
from sparsefront.search.runs.run_folder import RunFolder, run_folder
from sparsefront.search.runs.trial_reader import StoredTrial
from sparsefront.search.training.pruned_start import PrunedCheckpoint


def export(
    name: str,
    runs: str | Path,
    pick: str,
    destination: Path,
    formats: tuple[Format, ...] = (),
    say: Say = lambda line: None,
    device: str = "cpu",
) -> Path:
    """Writes DESTINATION whole or not at all; InputError where the pick fits no trial, or a format
    not the model.

    allocation.json, masks.safetensors (bool, True = kept), weights.safetensors (state dict, pruned
    weights zero), manifest.json (the trial's spec, metrics, sizes, hashes of all other files),
    report.md, front.png; where channels were removed also channels.json (positions left of each
    tensor) and small.safetensors (state dict of the smaller model). Each format: formats.py; its
    files are compared with torch on `device`.
    """
    run = run_folder(runs, name).require().pull()
    front = front_of(run)
    return _export(
        front, run, pick_trial(front, run, pick), destination, pick, formats, say, device
    )


def export_point(
    front: ParetoFront,
    point: StoredTrial | int | str,
    destination: str | Path,
    formats: tuple[Format, ...] = (),
    device: str = "cpu",
) -> Path:
    """The same from Python: `point` is one of the front's trials, its id, or what --pick takes.
    InputError for a front that was read from no folder.
    """
    if front.run is None:
        raise InputError("front: read from no folder; allowed: that of load_front or run_sweep")
    pick = point if isinstance(point, str) else f"trial:{getattr(point, 'trial_id', point)}"
    trial = pick_trial(front, front.run, pick)
    return _export(front, front.run, trial, destination, pick, formats, lambda line: None, device)


def _export(
    front: ParetoFront, run: RunFolder, trial: StoredTrial, destination: str | Path, pick: str,
    formats: tuple[Format, ...], say: Say, device: str,
) -> Path:  # fmt: skip
    if formats:
        require_formats(catalogue_model(trial.spec, formats[0]), formats)
    destination = Path(destination)
    with whole_folder(destination) as made:
        _write(made, trial, front, run, Wanted(pick, tuple(dict.fromkeys(formats)), say, device))
    return destination


class Wanted(NamedTuple):
    """What is asked of an export."""

    pick: str
    formats: tuple[Format, ...]
    say: Say
    device: str


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An exported folder, read back."""

    spec: TrialSpec
    weights: PrunedWeights
    manifest: dict[str, Any]

    def model(self) -> nn.Module:
        """A new model with the pruned weights, on the CPU in eval mode; without the channels that
        were removed.
        """
        pruned = PrunedCheckpoint(
            model=self.spec.architecture, image=self.spec.image, weights=self.weights
        )
        return deployed_model(pruned, Path("the export"))


def load_small(folder: str | Path) -> nn.Module:
    """The model of an export without its removed channels, in eval mode: built from the spec, cut
    to channels.json, filled from small.safetensors. InputError where the export has none.
    """
    found = read_pruned(Path(folder))
    if not found.weights.channels:
        raise InputError(f"{folder}: no channel was removed; allowed: exports of pattern channel")
    model = found.model.build()
    shrink(model, found.weights.channels)
    store.load_into(model, read_tensors(Path(folder) / SMALL), Path(folder) / SMALL)
    return model.eval()


def load_export(folder: str | Path) -> Exported:
    """InputError where a file is missing or was changed, or no trial is behind the folder."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    if "spec" not in manifest:
        raise InputError(
            f"{folder}: no trial measured it; allowed: `sparsefront evaluate --model "
            f"{(manifest.get('model') or manifest['task'])['name']} --checkpoint "
            f"{folder / WEIGHTS} --data ROOT`"
        )
    spec = spec_from_dict(manifest["spec"], f"{folder / MANIFEST}: spec")
    weights = read_pruned(folder, manifest).weights
    return Exported(spec=spec, weights=weights, manifest=manifest)


def _write(
    folder: Path, trial: StoredTrial, front: ParetoFront, run: RunFolder, wanted: Wanted
) -> None:
    spec = trial.spec
    pruned = PrunedCheckpoint(model=spec.architecture, image=spec.image, weights=trial.weights())
    write_pruned(folder, pruned)
    document = allocation_document(trial, read_sweep(run.sweep_file, in_full=True), run)
    write_json(folder / ALLOCATION, document)
    notes: dict[str, Any] = {}
    if spec.allocation.pattern not in ("unstructured", "channel"):
        removed = trial.result.per_layer_sparsity
        notes["nm"] = check_nm_groups(
            spec.build(), pruned.weights.state, removed, spec.allocation.pattern
        )
    if "original" in wanted.formats:
        wanted.say(ORIGINAL)
        notes["original"] = write_original(spec.parts.model, pruned.weights.state, folder)
    model = deployed_model(pruned, trial.path)
    notes |= write_deployment(model, spec, wanted.formats, folder, wanted.say, wanted.device)
    save_front(front, folder / "front.png", marked=trial)
    write_bytes(folder / "report.md", report(trial, front, wanted.pick).encode())
    write_manifest(folder, {**_fields(trial, front, wanted.pick, notes), **_launch(run)})


def _launch(run: RunFolder) -> dict[str, Any]:
    """Where the code of classes of one's own is, and its hash."""
    launch = read_json(run.launch_file) if run.launch_file.is_file() else {}
    if launch.get("own_code") is None:
        return {}
    return {"own_code": {"folder": launch.get("folder"), **launch["own_code"]}}


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
