"""Everything there is to see of one finished trial, written into a folder of its own."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from sparsefront.errors import InputError
from sparsefront.files.atomic import write_json
from sparsefront.files.whole_folder import whole_folder
from sparsefront.models.checkpoint import store
from sparsefront.models.fusion_model import FusionModel
from sparsefront.scenes.loader import Loader
from sparsefront.search.config.data import Scenes, open_scenes
from sparsefront.search.config.device import Device, resolve_device
from sparsefront.search.config.metric_names import quality
from sparsefront.search.config.moved_data import moved_data
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.evaluation.deployed import deployed
from sparsefront.search.reports.trial_page.detection_picture import boxes_of, draw_detections
from sparsefront.search.reports.trial_page.feature_picture import draw_features, magnitudes
from sparsefront.search.reports.trial_page.layer_picture import draw_layers
from sparsefront.search.reports.trial_page.layers import LayerRow, layer_rows
from sparsefront.search.reports.trial_page.page import page
from sparsefront.search.runs.front import ParetoFront, format_value, load_front
from sparsefront.search.runs.trial_reader import StoredTrial
from sparsefront.search.tasks.choose import task_of
from sparsefront.search.tasks.complete import CompleteTask
from sparsefront.search.trial import score_cache
from sparsefront.search.trial.shared import prepare, trained_model


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is shown: rows of the layers, figures by file name, a heading for each."""

    rows: list[LayerRow]
    figures: dict[str, Any]
    headings: dict[str, str]


def inspect_trial(
    name: str,
    runs: str | Path,
    pick: str,
    destination: Path,
    *,
    samples: Sequence[str] = ("0",),
    least_score: float = 0.3,
    data_root: str | None = None,
    device: str = "cpu",
) -> Path:
    """Writes DESTINATION whole or not at all: index.html with everything inside, layers.json, and
    the pictures one by one.

    samples: evaluation frames, by number or sample token; least_score: of boxes that are drawn;
    data_root: where the data lie now; device: where to compute. InputError where the pick or a
    sample does not fit.
    """
    front = load_front(name, runs)
    trial = front.pick(pick)
    spec = trial.spec if data_root is None else moved_data(trial.spec, data_root)
    spec = replace(spec, device=cast(Device, device))
    looked = inspect_frames(trial, spec, samples, least_score)
    with whole_folder(Path(destination)) as folder:
        _write(folder, trial, front, looked)
    return Path(destination)


def inspect_frames(
    trial: StoredTrial, spec: TrialSpec, samples: Sequence[str], least_score: float
) -> Inspection:
    """Scores the dense model again and runs both models on the frames."""
    shared = prepare(spec)
    device = resolve_device(spec.device)
    dense = trained_model(spec, shared).to(device).eval()
    pruned = spec.build()
    frames = _batches(spec, samples)
    weights = trial.weights()
    store.load_into(pruned, weights.state, trial.path)
    pruned = deployed(pruned.to(device).eval(), weights.channels)
    scores = score_cache.scores(
        spec, shared.statistics[score_cache.key_of(spec)], spec.groups(dense)
    )
    rows = layer_rows(scores, weights.mask, trial.result.cost)
    figures = {"layers": draw_layers(rows, f"Trial {trial.trial_id}, layer by layer")}
    headings = {"layers": "Layers: weights, score mass and MACs removed"}
    task = task_of(spec)
    for name, batch in frames:
        found = _of_frame(task, dense, pruned, task.to_device(batch, device), name, least_score)
        figures |= {f"{kind}-{name}": figure for kind, figure in found.items()}
        headings |= {f"{kind}-{name}": f"{HEADINGS[kind]}, frame {name}" for kind in found}
    return Inspection(rows=rows, figures=figures, headings=headings)


HEADINGS = {
    "features": "What each modality hands on, before and after pruning",
    "detections": "Detections of the dense and the pruned model",
}


def _of_frame(
    task: CompleteTask, dense: nn.Module, pruned: nn.Module, batch: Any, token: str,
    least_score: float,
) -> dict[str, Any]:  # fmt: skip
    found = {}
    if task.has_features:
        maps = [magnitudes(task.features, model, batch) for model in (dense, pruned)]
        found["features"] = draw_features(maps[0], maps[1], token)
    if (
        isinstance(dense, FusionModel)
        and isinstance(pruned, FusionModel)
        and (dense.task == "detection")
    ):
        with torch.inference_mode():
            boxes = {"dense": dense.predict(batch)[0], "pruned": pruned.predict(batch)[0]}
        title = f"Boxes that score {least_score:g} and above, frame {token[:8]}"
        shown = boxes_of(batch, boxes, least_score)  # type: ignore[arg-type]
        found["detections"] = draw_detections(batch, shown, title)
    return found


def _batches(spec: TrialSpec, samples: Sequence[str]) -> list[tuple[str, Any]]:
    """Name and batch of the evaluation frames, or of a task's evaluation batches."""
    if spec.task is None:
        scenes = open_scenes(spec.parts.val, spec.on_bad_sample)
        chosen = {_token(scenes, sample) for sample in samples}
        frames = scenes.without(token for token in scenes.tokens if token not in chosen)
        loader = Loader(frames, spec.image, None, batch_size=1, shuffle=False, seed=0)
        return [(batch.tokens[0], batch) for batch in loader]
    batches = task_of(spec).evaluation_batches()
    wrong = [s for s in samples if not (s.isdigit() and int(s) < len(batches))]
    if wrong:
        raise InputError(
            f"--samples: value {wrong[0]!r}; allowed: a number from 0 to {len(batches) - 1}, of an "
            "evaluation batch"
        )
    return [(sample, batches[int(sample)]) for sample in samples]


def _token(scenes: Scenes, sample: str) -> str:
    if sample in scenes.tokens:
        return sample
    if sample.isdigit() and int(sample) < len(scenes.tokens):
        return scenes.tokens[int(sample)]
    raise InputError(
        f"--samples: value {sample!r}; allowed: a number from 0 to {len(scenes.tokens) - 1}, or "
        "the token of an evaluation frame"
    )


def _write(folder: Path, trial: StoredTrial, front: ParetoFront, looked: Inspection) -> None:
    pictures = {}
    for name, figure in looked.figures.items():
        held = io.BytesIO()
        figure.savefig(held, dpi=110, format="png")
        pictures[name] = held.getvalue()
        (folder / f"{name}.png").write_bytes(held.getvalue())
    write_json(folder / "layers.json", [row.to_json() for row in looked.rows])
    title = f"{front.name}, trial {trial.trial_id}"
    text = page(title, facts(trial), looked.rows, pictures, looked.headings)
    (folder / "index.html").write_text(text)


def facts(trial: StoredTrial) -> list[str]:
    """Lines that say how good, how small and, where it was timed, how fast the trial is."""
    metrics = trial.result.metrics
    quality_of = ", ".join(f"{name} {metrics[name]:.4f}" for name in quality(metrics))
    lines = [
        f"{quality_of}; {format_value(metrics['GFLOPs'])} GFLOPs a frame of "
        f"{format_value(2 * metrics['GMACs_dense'])} "
        f"(theoretical, 2 x MACs); {metrics['sparsity']:.1%} of the prunable weights removed.",
        "Removed by modality: "
        + ", ".join(f"{m} {s:.1%}" for m, s in trial.result.per_modality_sparsity.items())
        + ".",
    ]
    timed = trial.result.latency
    return lines + [f"Latency, {which}: {found['text']}." for which, found in timed.items()]
