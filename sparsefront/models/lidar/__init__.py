"""LiDAR branches: voxels through sparse convolutions, or pillars, to a bird's-eye-view map."""
