"""Made street scenes in nuScenes and KITTI format: a data set anybody can have in a minute."""

from scenes.procedural.kitti_writer import make_kitti
from scenes.procedural.writer import make_scenes

__all__ = ["make_kitti", "make_scenes"]
