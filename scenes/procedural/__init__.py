"""Made street scenes in nuScenes format: a data set anybody can have in a minute."""

from scenes.procedural.writer import make_scenes

__all__ = ["make_scenes"]
