"""`make bench`: ratios of two ways measured in one run, as these machines are noisy."""

from __future__ import annotations

import torch

from benchmarks import (
    detection_score,
    kitti_score,
    loader,
    map_raster,
    map_score,
    masks,
    pooling,
    repair,
    scoring,
    store,
    tracking_score,
)


def main() -> None:
    torch.set_num_threads(1)
    scoring.speed()
    scoring.memory()
    torch.set_num_threads(2)
    masks.speed()
    pooling.speed()
    repair.speed()
    detection_score.speed()
    map_raster.speed()
    map_score.speed()
    kitti_score.speed()
    store.speed()
    loader.speed()
    tracking_score.speed()


if __name__ == "__main__":
    main()
