"""A trial with its data somewhere else."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from sparsefront.errors import InputError
from sparsefront.search.config.data import with_root
from sparsefront.search.config.named_classes import NamedTask
from sparsefront.search.config.trial_spec import TrialSpec


def moved_data(spec: TrialSpec, root: str) -> TrialSpec:
    """The same trial with its data under another root: of a task of one's own, its field `root`."""
    if spec.task is None:
        _, train, val = spec.parts
        return dataclasses.replace(spec, train=with_root(train, root), val=with_root(val, root))
    return dataclasses.replace(spec, task=moved_task(spec.task, root))


def moved_task(task: NamedTask, root: str) -> NamedTask:
    """A task with another value of its field `root`. InputError where it has none."""
    own: Any = task
    if "root" not in {field_.name for field_ in dataclasses.fields(own)}:
        raise InputError(
            f"--data: value {root!r}: task {task.name} has no field root; allowed: none"
        )
    where = Path(root) if isinstance(own.root, Path) else root
    moved: NamedTask = dataclasses.replace(own, root=where)
    return moved
