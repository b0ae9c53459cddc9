"""Where nuScenes-format data lie, and which scenes a split has."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from nuscenes.utils.splits import create_splits_scenes

from sparsefront.errors import InputError

if TYPE_CHECKING:
    from nuscenes import NuScenes


def data_root(root: str, version: str) -> Path:
    """The folder of a data root. InputError where root or version is absent."""
    folder = Path(os.path.expandvars(root)).expanduser()
    if not folder.is_dir():
        raise InputError(f"root: value {root!r} is not a folder; allowed: a nuScenes data root")
    if not (folder / version / "sample.json").is_file():
        found = sorted(p.parent.name for p in folder.glob("*/sample.json"))
        raise InputError(f"version: value {version!r} is not in {root}; allowed: {found}")
    return folder


@lru_cache(maxsize=4)
def open_tables(root: str, version: str) -> NuScenes:
    """The devkit's tables, once a process."""
    from nuscenes import NuScenes

    return NuScenes(version, str(data_root(root, version)), verbose=False)


def scene_names(root: Path, version: str, split: str, every: Iterable[str]) -> set[str]:
    """Names of a split: "all" of `every`, the devkit's own, or one of the version folder's
    splits.json.
    """
    if split == "all":
        return set(every)
    path = root / version / "splits.json"
    own = _own_splits(path) if path.is_file() else {}
    known: dict[str, list[str]] = {**own, **create_splits_scenes()}
    if split not in known:
        raise InputError(
            f"split: value {split!r} is unknown in {root} {version}; allowed: "
            f"{', '.join(['all', *known])}"
        )
    return set(known[split])


def _own_splits(path: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: {error}; allowed: lists of scene names by split") from error
    for name, scenes in found.items() if isinstance(found, dict) else [("", type(found))]:
        if not isinstance(scenes, list) or not all(isinstance(s, str) for s in scenes):
            raise InputError(
                f"{path}: {name}: value {scenes!r:.80}; allowed: a list of scene names for each "
                "split"
            )
    return dict(found)
