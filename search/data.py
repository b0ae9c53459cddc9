"""The data that trials and training read: nuScenes-format or KITTI, opened by one function."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from scenes.frame import OnBadSample
from scenes.kitti import KittiScenes, KittiSpec
from scenes.nuscenes import NuScenesScenes, NuScenesSpec

DataSpec = NuScenesSpec | KittiSpec
Scenes = NuScenesScenes | KittiScenes


@lru_cache(maxsize=4)
def open_scenes(spec: DataSpec, on_bad_sample: OnBadSample = "raise") -> Scenes:
    """Scenes of a spec, kept for the next trial in this process. ValueError without frames."""
    if isinstance(spec, KittiSpec):
        return KittiScenes(spec, on_bad_sample)
    return NuScenesScenes(spec, on_bad_sample)


def root_of(spec: DataSpec) -> str:
    """The folder of the data set."""
    return spec.kitti_root if isinstance(spec, KittiSpec) else spec.root


def with_root(spec: DataSpec, root: str) -> DataSpec:
    """The same frames in another folder."""
    if isinstance(spec, KittiSpec):
        return replace(spec, kitti_root=root)
    return replace(spec, root=root)
