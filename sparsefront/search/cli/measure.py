"""Answers of `evaluate`, `cost`, `model keys` and `scenes info`, as JSON-ready data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch

from sparsefront.errors import InputError
from sparsefront.files.atomic import read_json
from sparsefront.models import build
from sparsefront.models.checkpoint import store
from sparsefront.models.fusion_model import FusionModel
from sparsefront.pruning.cost import ModelCost, profile
from sparsefront.pruning.latency import latency
from sparsefront.scenes.batch import DETECTION_CLASSES, SensorBatch
from sparsefront.scenes.kitti import KittiSpec
from sparsefront.scenes.loader import ImageSpec, Loader
from sparsefront.scenes.nuscenes import NuScenesSpec
from sparsefront.scenes.radar.points import NUM_SWEEPS
from sparsefront.scenes.scoring.tracker import TrackerSpec
from sparsefront.search.config.checkpoint_model import image_in, model_in
from sparsefront.search.config.data import DataSpec, open_scenes
from sparsefront.search.config.device import Device
from sparsefront.search.config.model_names import model_spec
from sparsefront.search.config.moved_data import moved_data
from sparsefront.search.config.own_metrics import with_own_metrics
from sparsefront.search.evaluation.evaluate import Evaluation, evaluate
from sparsefront.search.evaluation.results import used_by
from sparsefront.search.evaluation.synthetic_frame import synthetic_frame
from sparsefront.search.runs.allocation_file import FILE
from sparsefront.search.training.seeding import seed_everything
from sparsefront.search.trial.latency import latency_metrics, latency_record
from sparsefront.search.trial.run_trial import measure as measure_weights
from sparsefront.search.trial.run_trial import metrics_of, time_again

DataFormat = Literal["nuscenes", "kitti"]

VERSION = "v1.0-mini"
"""Of a nuScenes-format data set, where none is given."""


def evaluate_export(
    folder: Path,
    data_root: str | None = None,
    device_of: Callable[[bool], str] = lambda measured_on_cpu: "auto",
) -> dict[str, Any]:
    """Metrics of an exported folder on its own evaluation frames: the trial's, bit for bit, but for
    a latency, which is measured anew (`latency`, beside what the trial had).

    data_root replaces the root of the data, where the export is on another machine; device_of says
    where to compute, told whether the trial was measured on the CPU. InputError for a folder that
    is not an export or whose hashes do not match.
    """
    from sparsefront.search.exports.export import load_export

    found = load_export(folder)
    found_by = read_json(folder / FILE).get("found_by") or {}
    on_cpu = str(found_by.get("versions", {}).get("device", "cpu")).startswith("cpu")
    spec = replace(found.spec, device=cast(Device, device_of(on_cpu)))
    if data_root is not None:
        spec = moved_data(spec, data_root)
    scores, cost = measure_weights(spec, found.weights)
    timed = time_again(spec, found.weights)
    sparsity = {"sparsity": found.weights.sparsity()}
    known = {**metrics_of(scores, cost), **sparsity, **latency_metrics(timed)}
    metrics = with_own_metrics(spec, known, scores.per_class)
    answer = _answer(scores, metrics, cost)
    if timed:
        before = found.manifest.get("latency", {})
        answer["latency"] = {"anew": latency_record(timed), "by_the_trial": before}
    return answer


def latency_note(answer: dict[str, Any]) -> str:
    """A line that says what was measured anew; empty where nothing was."""
    if "latency" not in answer:
        return ""
    note = f"latency_ms measured anew: {answer['latency']['anew']['deployed']['text']}"
    before = answer["latency"]["by_the_trial"]
    return f"{note}; by the trial: {before['deployed']['text']}" if before else note


def evaluate_checkpoint(
    model_name: str,
    checkpoint: Path,
    frames: DataSpec,
    masked: frozenset[str],
    threads: int,
    tracker: TrackerSpec | None = None,
    results: Path | None = None,
    device: Callable[[], str] = lambda: "cpu",
) -> dict[str, Any]:
    """Metrics of a checkpoint on a split, optionally with a modality masked, or with tracks; its
    boxes in the official format where `results` says so. `device` says where to compute, once the
    files are known to be right.
    """
    model, image = load_model(model_name, checkpoint)
    if isinstance(frames, NuScenesSpec):
        radar = NUM_SWEEPS if "radar" in used_by(model) else None
        frames = replace(frames, maps=model.task == "map", radar_sweeps=radar)
    scenes = open_scenes(frames)
    seed_everything(0, threads)
    where = device()
    model.to(where)
    cost = _cost(model, [_first_frames(frames, image, 1)[0].to(where)])
    scores = evaluate(
        model, scenes, image, tracker=tracker, masked=masked, results=results, device=where
    )
    return _answer(scores, metrics_of(scores, cost), cost)


def cost_of(
    model_name: str,
    checkpoint: Path | None,
    frames: DataSpec | None,
    timing: tuple[int, int] | None = None,
    count: int | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Parameters, non-zeros and MACs, per modality, stage and layer, averaged over the first
    `count` frames (None: all).

    timing: passes and warm-up passes of a latency measurement, on the device.
    """
    model, image = load_model(model_name, checkpoint)
    batches = [synthetic_frame(image)] if frames is None else _first_frames(frames, image, count)
    cost = _cost(model, batches)
    answer = {
        "frames": ["synthetic frame"] if frames is None else [b.tokens[0] for b in batches],
        "GMACs": cost.macs / 1e9,
        "GFLOPs": 2 * cost.macs / 1e9,
        **cost.to_json(),
    }
    if timing is not None:
        on_device = [batch.to(device) for batch in batches]
        measured = latency(model.to(device), on_device, repeats=timing[0], warmup=timing[1])
        answer["latency"] = {**asdict(measured), "text": str(measured)}
    return answer


def cost_table(answer: dict[str, Any]) -> str:
    """The answer of `cost_of` as text: totals, modalities, stages, layers, what counts zero."""
    total = answer["total"]
    lines = [
        f"frames   {', '.join(answer['frames'])}",
        f"MACs     {answer['GMACs']:.4f} G = {answer['GFLOPs']:.4f} GFLOPs (2 x MACs), dense "
        f"{total['macs_dense'] / 1e9:.4f} G",
        f"weights  {total['parameters']:,} parameters, {total['nonzeros']:,} of them not zero",
        f"stored   {answer['stored']['bytes']:,} bytes, dense {answer['stored']['bytes_dense']:,}",
    ]
    if "latency" in answer:
        lines.append(f"latency  {answer['latency']['text']}")
    for part in ("per_modality", "per_stage", "per_layer"):
        lines += ["", f"{'parameters':>12} {'non-zeros':>12} {'MMACs':>10} {'dense':>10}  {part}"]
        for name, row in answer[part].items():
            macs, dense = row["macs"] / 1e6, row["macs_dense"] / 1e6
            lines.append(
                f"{row['parameters']:>12,} {row['nonzeros']:>12,} {macs:>10.3f} {dense:>10.3f}"
                f"  {name}"
            )
    return "\n".join([*lines, "", f"counted as zero: {', '.join(answer['not_counted'])}"])


def load_model(name: str, checkpoint: Path | None) -> tuple[FusionModel, ImageSpec]:
    """A model in eval mode with a checkpoint's weights, and the image size it was trained at.

    The spec in the checkpoint's metadata wins over the default one of that name.
    """
    spec, image = model_spec(name), ImageSpec()
    if checkpoint is None:
        torch.manual_seed(0)
        return build(spec).eval(), image
    state, metadata = store.load(checkpoint)
    stored = model_in(metadata, checkpoint)
    if stored is not None and stored.name != name:
        raise InputError(f"checkpoint: {checkpoint} is of model {stored.name!r}; allowed: {name!r}")
    spec, image = stored or spec, image_in(metadata, checkpoint) or image
    model = build(spec)
    store.load_into(model, state, checkpoint)
    return model.eval(), image


def data_spec(
    root: str,
    version: str,
    split: str | None,
    data_format: DataFormat,
    num_frames: int | None = None,
    num_sweeps: int = 1,
) -> DataSpec:
    """Frames of a data root; $VARIABLES in the root are expanded by the reader. Without a split:
    mini_val of nuScenes; all frames of KITTI, whose splits are its ImageSets.
    """
    if data_format == "kitti":
        for option, given in (("--version", version != VERSION), ("--sweeps", num_sweeps != 1)):
            if given:
                raise InputError(f"{option}: KITTI has none; allowed with --format nuscenes")
        return KittiSpec(kitti_root=root, image_set=split)
    return NuScenesSpec(
        root=root, version=version, split=split or "mini_val", num_frames=num_frames,
        num_sweeps=num_sweeps,
    )  # fmt: skip


def data_summary(spec: DataSpec) -> dict[str, Any]:
    """Number of frames, and of boxes of each class."""
    scenes = open_scenes(spec)
    counts = scenes.label_counts()
    return {"frames": len(scenes.tokens), **dict(zip(DETECTION_CLASSES, counts, strict=True))}


def _cost(model: FusionModel, batches: list[SensorBatch]) -> ModelCost:
    with torch.no_grad():
        return profile(model, batches).cost(model)


def _first_frames(frames: DataSpec, image: ImageSpec, count: int | None) -> list[SensorBatch]:
    loader = Loader(open_scenes(frames), image, None, batch_size=1, shuffle=False, seed=0)
    return [batch for batch, _ in zip(loader, range(count or len(loader)), strict=False)]


def _answer(scores: Evaluation, metrics: dict[str, float], cost: ModelCost) -> dict[str, Any]:
    return {
        "metrics": metrics,
        "per_class": dict(scores.per_class),
        "tp_errors": dict(scores.tp_errors),
        "per_modality_GMACs": {k: v.macs / 1e9 for k, v in cost.per_modality.items()},
    }
