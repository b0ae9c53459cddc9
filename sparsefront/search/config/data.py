"""The data that trials and training read: nuScenes-format or KITTI, opened by one function."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from sparsefront.errors import InputError
from sparsefront.plugins import kind_of
from sparsefront.scenes.frame import OnBadSample
from sparsefront.scenes.kitti import KittiScenes, KittiSpec
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec

DataSpec = NuScenesSpec | KittiSpec
Scenes = NuScenesScenes | KittiScenes


@lru_cache(maxsize=4)
def open_scenes(spec: DataSpec, on_bad_sample: OnBadSample = "raise") -> Scenes:
    """Scenes of a spec, kept for the next trial in this process. InputError without frames, and for
    a data set of one's own that opens as something else.
    """
    if kind_of(spec) == "data":
        found = spec.open(on_bad_sample)  # type: ignore[union-attr]
        if not isinstance(found, (NuScenesScenes, KittiScenes)):
            raise InputError(
                f"name: {spec.name}: open returned {type(found).__name__}; allowed: NuScenesScenes "  # type: ignore[union-attr]
                "or KittiScenes, or a class of one's own that is one; other data are a task's"
            )
        return found
    if isinstance(spec, KittiSpec):
        return KittiScenes(spec, on_bad_sample)
    return NuScenesScenes(spec, on_bad_sample)


@lru_cache(maxsize=16)
def share_of(
    spec: DataSpec, share: float, on_bad_sample: OnBadSample = "raise", whole_scenes: bool = False
) -> Scenes:
    """A share of the frames, evenly spaced, or the first ones where tracks need neighbours; decoded
    frames are kept together with those of the whole.
    """
    scenes = open_scenes(spec, on_bad_sample)
    if share == 1.0:
        return scenes
    count = max(1, round(share * len(scenes.tokens)))
    if whole_scenes:
        chosen = set(scenes.tokens[:count])
    else:
        chosen = {scenes.tokens[i * len(scenes.tokens) // count] for i in range(count)}
    return scenes.without(token for token in scenes.tokens if token not in chosen)


def root_of(spec: DataSpec) -> str:
    """The folder of the data set."""
    return spec.kitti_root if isinstance(spec, KittiSpec) else spec.root


def with_root(spec: DataSpec, root: str) -> DataSpec:
    """The same frames in another folder."""
    if isinstance(spec, KittiSpec):
        return replace(spec, kitti_root=root)
    return replace(spec, root=root)
