"""Every criterion on every model of the catalogue: finite, repeatable, and nothing left behind."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.models import NAMES, build
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.channels.graph import channel_graph
from sparsefront.pruning.channels.removal import shrink
from sparsefront.pruning.channels.select import channel_mask
from sparsefront.pruning.criteria import (
    IMP,
    LAMP,
    SNIP,
    AlterMOMA,
    Criterion,
    Fisher,
    GraSP,
    Magnitude,
    ProsPr,
    Random,
    SynFlow,
    Taylor,
)
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.weights import prunable_weights
from sparsefront.scenes.batch import MAP_CLASSES, RADAR_FIELDS, MapProbabilities, SensorBatch
from sparsefront.scenes.loader import ImageSpec, Loader
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.search.config import strict_yaml

CRITERIA: list[Criterion] = [
    Magnitude(),
    Random(),
    SNIP(),
    GraSP(),
    SynFlow(num_iterations=3, sparsity=0.3),
    ProsPr(num_steps=2, lr=1e-3),
    ProsPr(num_steps=1, lr=1e-3, structured=True),
    Taylor(),
    Fisher(),
    LAMP(),
    IMP(rate=0.4, sparsity=0.5, steps=2),
    AlterMOMA(),
    AlterMOMA(structured=True),
]


SMALL_MAP = "bevfusion-small, task map"
FUSERS = {f"bevfusion-small, fuser {kind}": kind for kind in ("add", "gated")}


def smallest(name: str, tiny_model: dict[str, Any]) -> Any:
    """The model's own spec, as small as the tests' other models where it has these fields."""
    if name == SMALL_MAP:
        small = smallest("bevfusion-small", tiny_model)
        return replace(small, task="map", map_channels=8)
    if name in FUSERS:
        return replace(smallest("bevfusion-small", tiny_model), fuser=FUSERS[name])
    spec = NAMES[name]()
    if hasattr(spec, "tiny"):
        return spec.tiny()
    known = {k: v for k, v in tiny_model.items() if k in spec.__dataclass_fields__ and k != "name"}
    return replace(spec, **{k: tuple(v) if isinstance(v, list) else v for k, v in known.items()})


TWINS = (
    "mit_camera-resnet101-det",
    "mit_lidar-voxelnet-0p1-det",
    "mmdet3d_bevfusion_lidar-cam_mmcvops",
    "mmdet3d_bevfusion_lidar-cam_spconv2",
    "pcdet_bevfusion",
    "pcdet_transfusion_lidar",
)
"""The same networks as others of the catalogue, only their files differ."""


@pytest.fixture(scope="module", params=[*(n for n in NAMES if n not in TWINS), SMALL_MAP, *FUSERS])
def name(request: Any) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def batches(tiny_root: Path, name: str, tiny_model: dict[str, Any]) -> list[Any]:
    data = NuScenesSpec(root=str(tiny_root), version="v1.0-procedural", split="procedural_train")
    height, width = getattr(smallest(name, tiny_model), "image_size", None) or (32, 64)
    image = ImageSpec(height=height, width=width)
    found = Loader(NuScenesScenes(data), image, None, 1, shuffle=False, seed=0)
    cells = 200 if name == SMALL_MAP else 20
    return [with_radar_and_maps(batch, cells) for batch in found]


def with_radar_and_maps(batch: SensorBatch, cells: int) -> SensorBatch:
    """What the small data set lacks: 200 radar points around, a map of stripes."""
    random = torch.Generator().manual_seed(0)
    radar = torch.rand(200, RADAR_FIELDS, generator=random)
    radar[:, :2] = radar[:, :2] * 40 - 20
    maps = (torch.arange(cells) % 3 == 0).expand(len(MAP_CLASSES), cells, cells)
    targets = tuple(replace(t, maps=maps) for t in batch.targets)
    return replace(batch, radar=(radar,) * len(batch), targets=targets)


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.name)
def test_criterion_scores_are_finite_repeatable_and_leave_the_model(
    criterion: Criterion, name: str, batches: list[Any], tiny_model: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    model = build(smallest(name, tiny_model)).train()
    groups = ModalityGroups.from_model(model)
    if isinstance(criterion, AlterMOMA) and len(groups.entries) < 3:
        with pytest.raises(InputError, match="at least two modalities"):
            criterion.scores(model, groups, batches, lambda m, b: m.loss(b))
        return
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()

    if silent := without_a_score(criterion, name):
        with pytest.raises(InputError, match=f"every score of {silent}"):
            criterion.scores(model, groups, batches, lambda m, b: m.loss(b))
        return
    first = criterion.scores(model, groups, batches, lambda m, b: m.loss(b)).by_weight
    second = criterion.scores(model, groups, batches, lambda m, b: m.loss(b)).by_weight

    weights = prunable_weights(model)
    assert list(first) == list(weights)
    for key, score in first.items():
        assert score.shape == weights[key].shape
        assert score.dtype == weights[key].dtype
        assert torch.isfinite(score).all()
        assert torch.equal(score, second[key])
    assert any(score.any() for score in first.values())
    for group, keys in groups.assign(first).items():
        assert any(first[key].any() for key in keys), f"{group} has no score"
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(generator, torch.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not any("forward" in vars(m) for m in model.modules())


def without_a_score(criterion: Criterion, name: str) -> str | None:
    """What a criterion cannot rank: SynFlow's one threshold takes all of the radar, a sigmoid at 1
    lets no flow through; AVOD's boxes have no loss in frames without an object.
    """
    if isinstance(criterion, SynFlow):
        if name.startswith("pku_"):
            return r"fusion\.gate"
        return "radar" if "radar" in name else None
    from_loss = not isinstance(criterion, (Magnitude, Random, LAMP, IMP))
    return r"fusion\.offsets" if name == "avod-fpn" and from_loss else None


def test_every_criterion_of_the_catalogue_is_tested() -> None:
    assert {type(c) for c in CRITERIA} == set(Criterion.__args__)  # type: ignore[attr-defined]


def test_a_model_name_alone_makes_its_spec(tiny_model: dict[str, Any]) -> None:
    for name, kind in NAMES.items():
        assert kind().name == name
        assert strict_yaml.from_data({"name": name}, kind, "tests") == kind()


def test_predictions_under_bfloat16_are_finite_float32(
    name: str, batches: list[Any], tiny_model: dict[str, Any]
) -> None:
    """Under autocast: what has to be exact stays float32, predictions are finite and float32."""
    torch.manual_seed(0)
    model = build(smallest(name, tiny_model)).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = model.predict(batches[0])
    if isinstance(found, MapProbabilities):
        assert torch.isfinite(found.probabilities).all()
        assert found.probabilities.dtype == torch.float32
    else:
        assert torch.isfinite(found.boxes).all()
        assert found.boxes.dtype == found.scores.dtype == torch.float32
        assert found.boxes.shape[1] == 9


def test_smaller_model_gives_the_masked_outputs(
    name: str, batches: list[Any], tiny_model: dict[str, Any]
) -> None:
    """Half of all channels taken out: outputs within 1e-5 of the masked model's."""
    torch.manual_seed(0)
    model = build(smallest(name, tiny_model)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    graph = channel_graph(model, batches[0])
    groups = ModalityGroups.from_model(model)
    scores = Magnitude().scores(model, groups, [], lambda m, b: m.loss(b))
    half = SparsityAllocation(
        per_modality=dict.fromkeys(groups.entries, 0.5), pattern="channel", rule="uniform"
    )
    mask = channel_mask(scores, half, groups, graph, model)
    mask.apply(model)
    with torch.no_grad():
        wanted = model(batches[0])
        smaller = shrink(copy.deepcopy(model), mask.channels)
        found = smaller(batches[0])
    for key, value in wanted.items():
        assert torch.allclose(found[key], value, rtol=0, atol=1e-5), key
    assert sum(p.numel() for p in smaller.parameters()) < 0.5 * sum(
        p.numel() for p in model.parameters()
    )
