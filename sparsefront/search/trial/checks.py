"""Whether a trial can run: its data, checkpoint and allocation opened once, nothing written."""

from __future__ import annotations

from sparsefront.errors import InputError
from sparsefront.models.checkpoint import store
from sparsefront.models.fusion_model import FusionModel
from sparsefront.pruning.channels.select import select
from sparsefront.pruning.criteria import Magnitude
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import PruningMask
from sparsefront.scenes.frame import BadSample
from sparsefront.scenes.loader import Loader
from sparsefront.search.config.data import open_scenes
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.training.fine_tune import tuned_groups
from sparsefront.search.trial import score_cache
from sparsefront.search.trial.loss_curves import trade_off_groups
from sparsefront.search.trial.shared import Shared, dense_graph, dense_model


def check_trial(spec: TrialSpec) -> None:
    """Opens data and checkpoint, reads a frame of train and of val, resolves the allocation.
    InputError in one line.
    """
    for name, scenes in (("train", spec.train_scenes), ("val", spec.val_scenes)):
        try:
            tokens = scenes().tokens
        except InputError as error:
            raise InputError(f"field trial.{name}: {error}") from error
        if not tokens:
            raise InputError(f"field trial.{name}: the split has no frames")
        check_first_frame(spec, name)
    try:
        state = store.load(spec.checkpoint)[0]
        model = dense_model(spec, Shared(state={spec.checkpoint: state}))
    except InputError as error:
        raise InputError(f"field trial.checkpoint: {error}") from error
    try:
        tuned_groups(model, spec.fine_tune)
    except InputError as error:
        raise InputError(f"field trial.fine_tune.{error}") from error
    check_allocation(spec, model)


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


def check_allocation(spec: TrialSpec, model: FusionModel) -> None:
    """InputError where the allocation does not fit the model: a modality, stage or layer that is
    not there, a pattern that a layer's width does not allow, too few weights left.
    """
    groups = ModalityGroups.from_model(model)
    magnitude = Magnitude().scores(model, groups, [], score_cache.task_loss)
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
