"""The official scores: detection, tracking and map segmentation of nuScenes, detection of KITTI."""
