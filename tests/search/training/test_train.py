"""Dense training on KITTI frames by the train verb's own function."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sparsefront.models import build
from sparsefront.models.avod.model import AvodFpn
from sparsefront.models.checkpoint import store
from sparsefront.scenes.kitti import KittiSpec
from sparsefront.scenes.loader import ImageSpec
from sparsefront.search.training.train import TrainSpec, read_train, train
from tests.helpers import paths


@pytest.fixture
def spec(kitti_root: Path) -> TrainSpec:
    data = KittiSpec(kitti_root=str(kitti_root))
    ground = replace(AvodFpn().tiny().ground, length=24.0)
    return TrainSpec(
        model=replace(AvodFpn().tiny(), ground=ground), data=data, val=data,
        image=ImageSpec(height=48, width=112), steps=4, batch_size=1, lr=1e-2,
    )  # fmt: skip


def test_a_frame_is_learnt_and_measured(spec: TrainSpec, tmp_path: Path) -> None:
    found = train(replace(spec, steps=60), tmp_path / "a.safetensors", log=lambda line: None)
    assert found.losses[-1] < 0.5 * found.losses[0]
    assert {"recall_easy", "recall_moderate", "recall_hard", "precision"} < set(found.metrics)
    assert {"AP3D", "APBEV_without_camera", "AOS_without_lidar"} < set(found.metrics)


def test_frozen_norms_keep_their_statistics(spec: TrainSpec, tmp_path: Path) -> None:
    """From the start: as they were made; halfway: as after the first half."""
    name = "lidar.pyramid.down.0.0.1.running_mean"
    means = []
    for share in (0.0, 0.5, 1.0):
        path = tmp_path / f"{share}.safetensors"
        train(replace(spec, batch_norm=share), path, log=lambda line: None)
        means.append(store.load(path)[0][name])
    assert not means[0].any()
    assert means[1].any()
    assert not torch.equal(means[1], means[2])


def test_kitti_example_is_a_training_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITTI", "/data/kitti")
    spec = read_train(paths.CHECKOUT / "examples" / "kitti" / "avod.yaml")
    assert isinstance(spec.model, AvodFpn)
    assert spec.data == KittiSpec(kitti_root="/data/kitti")


def test_kitti_checkpoint_is_of_its_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITTI", "/data/kitti")
    examples = paths.CHECKOUT / "examples"
    spec = read_train(examples / "kitti" / "train_procedural.yaml")
    assert isinstance(spec.val, KittiSpec)
    assert spec.val.image_set == "val"
    path = examples / "checkpoints" / "kitti.safetensors"
    store.load_into(build(spec.model), store.load(path)[0], str(path))
