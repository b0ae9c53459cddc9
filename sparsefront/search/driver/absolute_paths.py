"""Paths and URIs of a sweep before anything is written: absolute, and the database opens."""

from __future__ import annotations

import os
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from sparsefront.search.config import strict_yaml
from sparsefront.search.config.data import DataSpec, root_of, with_root
from sparsefront.search.config.passwords import mask_passwords
from sparsefront.search.config.space import Choices, Range
from sparsefront.search.config.sweep_file import AS_WRITTEN, PATHS, Sweep
from sparsefront.search.config.trial_spec import NO_CHECKPOINT, TrialSpec
from sparsefront.search.optimizer.study_storage import open_storage
from sparsefront.search.runs.run_folder import SQLITE
from sparsefront.search.runs.shared_storage import is_uri

OWN_PATHS = ("root", "path", "file", "folder", "dir", "directory")
"""Ends of the names of a task's fields that hold paths."""


def with_absolute_paths(sweep: Sweep) -> Sweep:
    """Paths that hold wherever a worker or a later `resume` stands."""
    return replace(
        sweep,
        warm_start=[f if is_uri(f) else os.path.abspath(f) for f in sweep.warm_start],
        code=[_at(folder) for folder in sweep.code],
        storage=_absolute_file(sweep.storage),
        tracking_uri=_absolute_file(sweep.tracking_uri),
        space={name: _absolute_choices(name, d) for name, d in sweep.space.items()},
        trial=_trial(sweep.trial),
    )


def _trial(trial: TrialSpec) -> TrialSpec:
    file = trial.checkpoint
    if trial.task is not None:
        own: Any = trial.task
        options = {
            f.name: _like(getattr(own, f.name), f.name)
            for f in fields(own)
            if f.init and f.name != "name"
        }
        named = file if file == NO_CHECKPOINT else os.path.abspath(file)
        return replace(trial, checkpoint=named, task=replace(own, **options))
    _, train, val = trial.parts
    return replace(
        trial, checkpoint=os.path.abspath(file), train=_at_home(train), val=_at_home(val)
    )


def _like(value: Any, name: str) -> Any:
    """Paths of a task's options: Path objects, and words in fields named root, path, file or
    folder.
    """
    if isinstance(value, Path):
        return Path(_at(str(value)))
    if isinstance(value, (list, tuple)):
        return type(value)(_like(item, name) for item in value)
    if isinstance(value, str) and value and name.endswith(OWN_PATHS):
        return value if "://" in value else _at(value)
    return value


def _absolute_choices(name: str, dimension: Range | Choices) -> Range | Choices:
    """Of checkpoints and data roots that are searched, in whole specs of data too."""
    if not isinstance(dimension, Choices):
        return dimension
    found: list[Any] = []
    for choice in dimension.choices:
        own = name.startswith("task.")
        if isinstance(choice, str) and name.endswith(PATHS) and not own:
            choice = choice if choice == NO_CHECKPOINT else _at(choice)
        if own:
            choice = _like(choice, name.rpartition(".")[2])
        if isinstance(choice, dict) and name in ("train", "val"):
            choice = {k: _at(v) if k.endswith(PATHS) else v for k, v in choice.items()}
        if isinstance(choice, dict) and name == "task":
            choice = {k: v if k == "name" else _like(v, k) for k, v in choice.items()}
        found.append(choice)
    return Choices(choices=found)


def _at(path: str) -> str:
    return os.path.abspath(os.path.expanduser(os.path.expandvars(path)))


def _absolute_file(uri: str | None) -> str | None:
    """The same database wherever a later `resume` stands; others as they are."""
    file = "" if uri is None else uri.removeprefix(SQLITE)
    if file in ("", uri) or file[0] in "/$":
        return uri
    return f"{SQLITE}{os.path.abspath(file)}"


def _at_home(data: DataSpec) -> DataSpec:
    """The data with an absolute root; ~ and variables would mean nothing behind a folder."""
    return with_root(data, _at(root_of(data)))


def check_uris(sweep: Sweep) -> None:
    """Opens Optuna's database before anything is written. InputError where it cannot be."""
    for field in AS_WRITTEN:
        uri = getattr(sweep, field)
        if uri is not None and "$" not in uri and mask_passwords(uri) != uri:
            print(
                f"{field}: its password goes into sweep.yaml of the run folder, and to MLflow; "
                "$VARIABLE in its place stays a variable there",
                file=sys.stderr, flush=True,
            )  # fmt: skip
    if sweep.storage is not None:
        open_storage(strict_yaml.expand(sweep.storage))
