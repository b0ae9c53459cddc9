"""The task that a trial's spec stands for."""

from __future__ import annotations

from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.tasks.complete import CompleteTask
from sparsefront.search.tasks.scenes_task import ScenesTask


def task_of(spec: TrialSpec) -> CompleteTask:
    """The trial's own task, or that of its model and data. One path from here on."""
    if spec.task is not None:
        return CompleteTask(spec.task, spec.task.name)
    return CompleteTask(ScenesTask(spec), spec.parts.model.name)
