"""Whether a trial can run: its data, checkpoint and allocation opened once, nothing written."""

from __future__ import annotations

import traceback

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError, one_line_with_type
from sparsefront.pruning.channels.select import select
from sparsefront.pruning.criteria import Magnitude
from sparsefront.pruning.mask import PruningMask
from sparsefront.scenes.frame import BadSample
from sparsefront.scenes.loader import Loader
from sparsefront.search.config.data import open_scenes
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.tasks.choose import task_of
from sparsefront.search.training.fine_tune import tuned_groups
from sparsefront.search.trial.loss_curves import trade_off_groups
from sparsefront.search.trial.pruned_model import with_lambdas
from sparsefront.search.trial.shared import Shared, dense_graph, dense_model, dense_state, state_key


def check_trial(spec: TrialSpec) -> None:
    """Opens data and checkpoint, reads a frame of train and of val, resolves the allocation.
    InputError in one line.
    """
    if spec.task is not None:
        check_own_task(spec)
    else:
        check_scenes(spec)
    try:
        model = dense_model(spec, Shared(state={state_key(spec): dense_state(spec)}))
    except InputError as error:
        raise InputError(f"field trial.{error}") from error
    try:
        tuned_groups(model, spec.fine_tune)
    except InputError as error:
        raise InputError(f"field trial.fine_tune.{error}") from error
    check_allocation(spec, model)


def check_own_task(spec: TrialSpec) -> None:
    """InputError, naming the class and the method, where a task of one's own cannot build, give a
    batch of training and of evaluation, or a loss.
    """
    task, step = task_of(spec), "build"
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model = task.build().eval()
            step = "groups"
            spec.groups(model)
            step = "training_batches"
            batch = task.scoring_batches(spec.seed, 1, "cpu")[0]
            step = "loss"
            with torch.enable_grad():
                check_loss(task.name, task.loss(model, batch))
            step = "evaluation_batches"
            batch = task.to_device(task.cost_batches(1)[0], "cpu")
            step = "forward"
            task.forward(model, batch)
            step = "evaluate"
            task.evaluate(model, 1 / len(task.evaluation_batches()), "cpu")
            step = "features"
            if task.has_features:
                maps = task.features(model, batch)
                if spec.cross_prune is not None:
                    with_lambdas(spec.cross_prune, maps)
            elif spec.cross_prune is not None:
                raise InputError(
                    f"task {task.name}: has no features, which cross_prune needs; allowed: "
                    "features(model, batch) -> {name: tensor}"
                )
    except InputError as error:
        raise InputError(f"field trial.task: {error}") from error
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(
            f"field trial.task: {task.name}: {step} raised {one_line_with_type(error)} "
            f"({where.filename}:{where.lineno})"
        ) from error


def check_loss(name: str, loss: Tensor) -> None:
    """InputError for a loss that is not finite or has no gradient."""
    if not torch.isfinite(loss):
        raise InputError(f"task {name}: loss returned {float(loss)}; allowed: a finite number")
    if not loss.requires_grad:
        raise InputError(
            f"task {name}: loss returned a tensor without a gradient; allowed: one that follows "
            "from the model's weights"
        )


def check_scenes(spec: TrialSpec) -> None:
    """Opens the splits and reads a frame of each."""
    for name, scenes in (("train", spec.train_scenes), ("val", spec.val_scenes)):
        try:
            tokens = scenes().tokens
        except InputError as error:
            raise InputError(f"field trial.{name}: {error}") from error
        if not tokens:
            raise InputError(f"field trial.{name}: the split has no frames")
        check_first_frame(spec, name)


def check_first_frame(spec: TrialSpec, name: str) -> None:
    """InputError where the first frame of train or val lacks a sensor or a map, or its images do
    not fit trial.image.
    """
    scenes = open_scenes(getattr(spec, name), spec.on_bad_sample)
    try:
        Loader(scenes, spec.image, None, 1, shuffle=False, seed=0).sample(0)
    except InputError as error:
        if not isinstance(error, BadSample) or spec.on_bad_sample == "raise":
            raise InputError(f"field trial.{name}: {error}") from error


def check_allocation(spec: TrialSpec, model: nn.Module) -> None:
    """InputError where the allocation does not fit the model: a modality, stage or layer that is
    not there, a pattern that a layer's width does not allow, too few weights left.
    """
    groups = spec.groups(model)
    magnitude = Magnitude().scores(model, groups, [], task_of(spec).loss)
    try:
        if spec.trade_off is not None:
            trade_off_groups(spec)
        if spec.allocation.pattern != "channel":
            PruningMask.from_scores(magnitude, spec.allocation, groups, model)
        elif spec.cross_prune is not None:
            raise InputError("pattern: value 'channel'; allowed with cross_prune: unstructured")
        else:
            select(magnitude, spec.allocation, groups, dense_graph(spec, model, "cpu"))
    except InputError as error:
        where = "" if str(error).startswith("trade_off") else "allocation."
        raise InputError(f"field trial.{where}{error}") from error
