"""Synthetic street scenes in nuScenes and KITTI format: a data set without a download."""

from sparsefront.scenes.procedural.kitti_writer import make_kitti
from sparsefront.scenes.procedural.writer import make_scenes

__all__ = ["make_kitti", "make_scenes"]
