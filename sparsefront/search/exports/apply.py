"""An allocation applied to another checkpoint of the same architecture.

Every layer loses the fraction that the file says of it, by the criterion's scores of this
checkpoint's own weights. Whole channels are tied across layers: there the fractions that were asked
for decide.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.files.atomic import write_json
from sparsefront.files.whole_folder import whole_folder
from sparsefront.models import ModelSpec, build
from sparsefront.models.checkpoint import published_file, store
from sparsefront.models.checkpoint.dialects import dialect_of
from sparsefront.plugins import kind_of
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.channels.graph import channel_graph
from sparsefront.pruning.channels.select import channel_mask
from sparsefront.pruning.channels.verify import verify
from sparsefront.pruning.criteria import Criterion
from sparsefront.pruning.device import device_of
from sparsefront.pruning.forward import call
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import PruningMask, top_mask
from sparsefront.pruning.pruned_weights import PrunedWeights
from sparsefront.pruning.repair.least_squares import refit_least_squares
from sparsefront.pruning.repair.moments import second_moments
from sparsefront.pruning.repair.norms import reestimate_norms
from sparsefront.pruning.repair.options import Repair
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import prunable_weights
from sparsefront.scenes.loader import ImageSpec
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.checkpoint_model import (
    checkpoint_metadata,
    image_in,
    model_in,
)
from sparsefront.search.config.data import DataSpec, with_root
from sparsefront.search.config.model_names import model_spec
from sparsefront.search.config.moved_data import moved_task
from sparsefront.search.config.named_classes import AnyCriterion, AnyModel, Architecture, NamedTask
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.evaluation.synthetic_frame import synthetic_frame
from sparsefront.search.exports.formats import original_dialect
from sparsefront.search.exports.pruned import write_manifest, write_pruned
from sparsefront.search.runs.allocation_file import (
    FILE,
    AllocationFile,
    LayerShare,
    read_allocation,
)
from sparsefront.search.tasks.checkpoint_file import read_state
from sparsefront.search.tasks.choose import task_of
from sparsefront.search.tasks.complete import CompleteTask
from sparsefront.search.training.pruned_start import PrunedCheckpoint


def apply_allocation(
    file: Path,
    checkpoint: Path,
    out: Path,
    *,
    model_name: str | None = None,
    criterion_name: str | None = None,
    data_root: str | None = None,
    repair: Repair | None = None,
    norm_frames: int = 16,
    device: Callable[[], str] = lambda: "cpu",
) -> str:
    """Writes OUT, a folder or a checkpoint by its suffix; says what was removed. InputError, one
    line, for an allocation of another architecture or a criterion that lacks its data.

    With data_root kept weights are refitted and norms measured again, as in a trial. `device` says
    where to compute, once the files are known to be right.
    """
    repair = repair or Repair()
    allocation = read_allocation(file)
    criterion = _criterion(allocation, criterion_name, file)
    require_data(allocation, criterion, data_root)
    model, spec, image = _dense(allocation, Path(checkpoint), model_name, file)
    require_layers(model, spec, allocation, file)
    if Path(out).suffix == ".pth":
        original_dialect(catalogue(spec), f"--out: value {str(out)!r}")
    task = _task(allocation, spec, criterion, data_root, file)
    batches: list[Any] = []
    if criterion.uses_batches and task is not None:
        batches = task.scoring_batches(_seed(allocation), _score_batches(allocation), "cpu")
    where = device()
    model.to(where)
    groups = ModalityGroups.from_model(model) if task is None else task.groups(model)
    loss = _no_loss if task is None else task.loss
    if task is not None:
        batches = [task.to_device(batch, where) for batch in batches]
    scores = criterion.scores(model, groups, batches, loss, call if task is None else task.forward)
    mask = _mask(allocation, scores, groups, model, task, image)
    repaired = _repair(model, mask, task, repair, norm_frames, _seed(allocation))
    mask.check(model)
    weights = PrunedWeights(
        state=_on_cpu(model.state_dict()), mask=_on_cpu(mask.by_weight), channels=mask.channels
    )
    pruned = PrunedCheckpoint(model=spec, image=image, weights=weights)
    _write(Path(out), pruned, allocation, mask, groups)
    return (
        f"{out}: {mask.sparsity():.1%} of {sum(m.numel() for m in mask.by_weight.values()):,} "
        f"prunable weights removed by {criterion.name}, in {len(mask.by_weight)} layers\n{repaired}"
    )


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in tensors.items()}


def _repair(
    model: nn.Module, mask: PruningMask, task: CompleteTask | None, repair: Repair,
    norm_frames: int, seed: int,
) -> str:  # fmt: skip
    """Cuts the model down, repairs it where there are frames, and says what was done."""
    if task is None:
        mask.apply(model)
        return "not repaired, as there are no frames: --data ROOT names those of the allocation"
    said: list[str] = []
    where = str(device_of(model))
    if repair.method == "none":
        mask.apply(model)
    else:
        batches = task.calibration_batches(seed, repair.frames, where)
        size = task.frames_a_batch(batches)
        moments = second_moments(model, batches, task.forward, batch_size=size)
        report = refit_least_squares(model, mask, moments, repair.damping)
        said += [f"kept weights refitted on {_count_frames(task, batches)} frames", *report.notes]
    if norm_frames > 0:
        batches = task.calibration_batches(seed, norm_frames, where)
        unseen = reestimate_norms(model, batches, task.forward)
        said.append(f"norms measured again on {_count_frames(task, batches)} frames")
        said += [f"norms that no frame reached: {', '.join(unseen)}"] if unseen else []
    return "\n".join(said) or "not repaired, as asked"


def _count_frames(task: CompleteTask, batches: list[Any]) -> int:
    return sum(task.frames_in(batch) for batch in batches)


def _task(
    allocation: AllocationFile, spec: Architecture, criterion: Criterion, root: str | None,
    file: Path,
) -> CompleteTask | None:  # fmt: skip
    """The task that found the allocation, with its data under another root where one is given; None
    where a model of ours has no data.
    """
    if allocation.task is not None:
        own = cast(NamedTask, spec)
        return CompleteTask(own if root is None else moved_task(own, root), own.name)
    if root is None:
        return None
    if allocation.found_by is None:
        raise InputError(f"{file}: field found_by: none; allowed with --data: a trial's")
    data, kinds = allocation.found_by.data, cast(Any, DataSpec)
    train: DataSpec = _read(data.get("train"), kinds, f"{file}: found_by.data.train")
    size = _read(data.get("image"), ImageSpec, f"{file}: found_by.data.image")
    frames = with_root(train, root)
    trial = TrialSpec(
        model=catalogue(spec), checkpoint="", train=frames, val=frames, image=size,
        criterion=criterion, seed=_seed(allocation),
    )  # fmt: skip
    return task_of(trial)


def catalogue(spec: Architecture) -> ModelSpec:
    """A model of ours. InputError for a task of one's own."""
    if kind_of(spec) == "task":
        raise InputError(
            f"--out: task {spec.name} is of no catalogue; allowed: a folder, or .safetensors"
        )
    return cast(ModelSpec, spec)


def _seed(allocation: AllocationFile) -> int:
    return 0 if allocation.found_by is None else allocation.found_by.seeds["trial"]


def _score_batches(allocation: AllocationFile) -> int:
    data = {} if allocation.found_by is None else allocation.found_by.data
    return int(data.get("score_batches", 1))


def _no_loss(model: Any, batch: Any) -> Tensor:
    raise AssertionError("asked for by no criterion that needs no batches")


def require_layers(
    model: nn.Module, spec: Architecture, allocation: AllocationFile, file: Path
) -> None:
    """InputError unless the allocation has exactly the model's prunable weights."""
    own = {name: weight.numel() for name, weight in prunable_weights(model).items()}
    theirs = {name: share.weights for name, share in allocation.per_layer.items()}
    differing = [n for n in dict.fromkeys([*theirs, *own]) if own.get(n) != theirs.get(n)]
    if differing:
        first = differing[0]
        more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
        raise InputError(
            f"{file}: field per_layer.{first}: {_count(theirs.get(first))}, model {spec.name!r} of "
            f"the checkpoint has {_count(own.get(first))}{more}; allowed: an allocation of the "
            "checkpoint's architecture"
        )


def _count(weights: int | None) -> str:
    return "no such layer" if weights is None else f"{weights} weights"


def _criterion(allocation: AllocationFile, name: str | None, file: Path) -> Criterion:
    """The one asked for, with its defaults, else the allocation's own."""
    kinds: Any = AnyCriterion
    if name is None:
        return _read(allocation.criterion, kinds, f"{file}: criterion")
    return _read({"name": name}, kinds, "--criterion")


def _read(data: Any, kinds: Any, source: str) -> Any:
    return strict_yaml.from_data(data, kinds, source)


def require_data(allocation: AllocationFile, criterion: Criterion, root: str | None) -> None:
    """InputError where a criterion scores on frames and nobody says where they are."""
    if not criterion.uses_batches or allocation.task is not None:
        return
    if root is None:
        raise InputError(
            f"--data: criterion {criterion.name!r} scores on frames; allowed: --data ROOT, or "
            "--criterion magnitude, which needs none"
        )


def _dense(
    allocation: AllocationFile, checkpoint: Path, name: str | None, file: Path
) -> tuple[nn.Module, Architecture, ImageSpec]:
    """The checkpoint's model: of the spec in its metadata, of --model, or the allocation's; of a
    task of one's own what that builds.
    """
    if allocation.task is not None:
        task = _read(allocation.task, cast(Any, NamedTask), f"{file}: task")
        torch.manual_seed(0)
        own = CompleteTask(task, task.name).build()
        store.load_into(own, read_state(str(checkpoint)), checkpoint)
        return own.eval(), task, ImageSpec()
    kinds: Any = AnyModel
    ours = checkpoint.suffix == ".safetensors"
    state, metadata = store.load(checkpoint) if ours else (published_file.read(checkpoint), {})
    stored = model_in(metadata, checkpoint)
    if stored is not None:
        spec = stored
    elif name is not None:
        spec = model_spec(name)
    else:
        spec = _read(allocation.model, kinds, f"{file}: model")
    image = image_in(metadata, checkpoint) or _image_size(spec, allocation, file)
    torch.manual_seed(0)
    model = build(spec)
    dialect = dialect_of(spec.name)
    if ours or dialect is None:
        store.load_into(model, state, checkpoint)
    else:
        published_file.load_into(model, dialect, state, checkpoint)
    return model.eval(), spec, image


def _image_size(spec: ModelSpec, allocation: AllocationFile, file: Path) -> ImageSpec:
    """Of images that a published model takes, else of those that the allocation was found on."""
    size = getattr(spec, "image_size", None)
    if size is not None:
        return ImageSpec(height=size[0], width=size[1])
    data = {} if allocation.found_by is None else allocation.found_by.data
    if "image" not in data:
        return ImageSpec()
    image: ImageSpec = _read(data["image"], ImageSpec, f"{file}: found_by.data.image")
    return image


def _mask(
    allocation: AllocationFile, scores: ImportanceScores, groups: ModalityGroups,
    model: nn.Module, task: CompleteTask | None, image: ImageSpec,
) -> PruningMask:  # fmt: skip
    requested = allocation.requested
    if requested.pattern == "channel":
        forward = call if task is None else task.forward
        where = str(device_of(model))
        frame: Any = synthetic_frame(image).to(where)
        if allocation.task is not None and task is not None:
            frame = task.to_device(task.cost_batches(1)[0], where)
        graph = channel_graph(model, frame, forward)
        verify(model, frame, graph, forward)
        return channel_mask(scores, requested, groups, graph, model)
    if requested.pattern != "unstructured":
        removed = {name: share.removed for name, share in allocation.per_layer.items()}
        by_layer = SparsityAllocation(per_layer=removed, pattern=requested.pattern)
        return PruningMask.from_scores(scores, by_layer, groups, model)
    return PruningMask(_kept(allocation.per_layer, scores))


def _kept(shares: Mapping[str, LayerShare], scores: ImportanceScores) -> dict[str, torch.Tensor]:
    """Of every layer exactly as many weights as the file says."""
    found = {}
    for name, values in scores.by_weight.items():
        count = round((1 - shares[name].removed) * shares[name].weights)
        found[name] = top_mask(values.detach().flatten(), count).view(values.shape)
    return found


def _write(
    out: Path,
    pruned: PrunedCheckpoint,
    allocation: AllocationFile,
    mask: PruningMask,
    groups: ModalityGroups,
) -> None:
    if out.suffix == ".safetensors":
        store.save(out, pruned.weights.state, checkpoint_metadata(pruned.model, pruned.image))
        return
    if out.suffix == ".pth":
        spec = catalogue(pruned.model)
        model = build(spec)
        store.load_into(model, pruned.weights.state, out)
        published_file.save(model, original_dialect(spec), out)
        return
    document = asdict(allocation)
    shares = mask.sparsity_by_layer()
    document |= {
        "per_modality": mask.sparsity_by_group(groups),
        "per_layer": {
            n: {"weights": kept.numel(), "removed": shares[n]} for n, kept in mask.by_weight.items()
        },
    }
    with whole_folder(out) as made:
        write_pruned(made, pruned)
        write_json(made / FILE, document)
        fields = {
            name: json.loads(text)
            for name, text in checkpoint_metadata(pruned.model, pruned.image).items()
        }
        write_manifest(made, {"made_by": "apply", **fields})
