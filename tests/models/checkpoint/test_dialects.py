"""Other code bases' files: names, layouts and axes, there and back, and a function that stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparsefront.errors import InputError
from sparsefront.models import NAMES, build
from sparsefront.models.camera.swin import PatchMerging, Swin
from sparsefront.models.checkpoint import published_file
from sparsefront.models.checkpoint.dialect import FIXED, Dialect, published_entries
from sparsefront.models.checkpoint.dialects import MIT, MMDET3D, PCDET, PKU, dialect_of
from sparsefront.models.checkpoint.swin import OFFICIAL, load_swin
from sparsefront.models.convention import CAFFE, CENTRED, LENGTH_FIRST, Convention
from sparsefront.models.convention import MIT as MIT_BOXES
from tests.helpers import paths

REFERENCE = paths.REFERENCE
PUBLISHED = [name for name in NAMES if dialect_of(name) is not None]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_state_dict_loads_back(name: str) -> None:
    """Saved as theirs, loaded into a model of other weights: every tensor is the first one's."""
    dialect = dialect_of(name)
    assert dialect is not None
    torch.manual_seed(0)
    model, other = (build(NAMES[name]().tiny()) for _ in range(2))
    state = {k: e.tensor.clone() for k, e in published_entries(model, dialect).items()}
    published_file.load_into(other, dialect, state, "file")
    for key, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor), key
    fixed = [k for k in state if k.rpartition(".")[2] in FIXED]
    assert len(state) == len(model.state_dict()) + len(dialect.buffers) + sum(
        key.rpartition(".")[2] != "relative_position_index" for key in fixed
    )


@pytest.mark.parametrize(
    "name",
    ["mit_bevfusion-det", "mmdet3d_bevfusion_lidar-cam_spconv2", "pcdet_bevfusion", "pku_bevf_tf",
     "mmdet3d_bevfusion_lidar-cam_mmcvops"],
)  # fmt: skip
def test_original_files_hold_only_tensors_under_their_wrapper(name: str, tmp_path: Path) -> None:
    """Nested as their readers expect, nothing but tensors, with the zeros where they were."""
    dialect = dialect_of(name)
    assert dialect is not None
    torch.manual_seed(0)
    model, other = (build(NAMES[name]().tiny()) for _ in range(2))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(torch.rand(parameter.shape) > 0.5)
    published_file.save(model, dialect, tmp_path / "original.pth")
    found = torch.load(tmp_path / "original.pth", weights_only=True)
    assert set(found) == {"model_state" if name.startswith("pcdet_") else "state_dict"}
    (state,) = found.values()
    assert set(state) == set(published_entries(model, dialect))
    published_file.load_into(other, dialect, published_file.read(tmp_path / "original.pth"), "file")
    for key, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor), key
        if key.rpartition(".")[2] not in FIXED:
            theirs = state[dialect.their_name(key)]
            assert int((theirs == 0).sum()) == int((tensor == 0).sum()), key


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no list of published keys here")
@pytest.mark.parametrize(
    "name", sorted(p.stem for p in (REFERENCE / "keys").glob("*.json") if p.stem in NAMES)
)
def test_names_shapes_types_and_kinds_are_the_published_ones(name: str) -> None:
    wanted = json.loads((REFERENCE / "keys" / f"{name}.json").read_text())
    dialect = dialect_of(name)
    assert dialect is not None
    model = build(NAMES[name]())
    found = published_entries(model, dialect)
    assert sorted(found) == sorted(wanted)
    for key, entry in found.items():
        assert list(entry.tensor.shape) == wanted[key]["shape"], key
        assert str(entry.tensor.dtype).removeprefix("torch.") == wanted[key]["dtype"], key
        assert entry.kind == wanted[key]["kind"], key


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no list of published keys here")
@pytest.mark.parametrize(
    ("file", "dialect"), [("map_mit_to_mmdet3d", MMDET3D), ("map_mit_to_pcdet", PCDET)]
)
def test_names_are_those_of_the_ports(file: str, dialect: Dialect) -> None:
    wanted = json.loads((REFERENCE / "keys" / f"{file}.json").read_text())
    model = build(NAMES["mit_bevfusion-det"]().tiny())
    names = [n for n, _ in (*model.named_parameters(), *model.named_buffers())]
    for name in names:
        if MIT.their_name(name) in wanted:
            assert wanted[MIT.their_name(name)] == dialect.their_name(name)


def test_transposed_layout_gives_the_same_output() -> None:
    """A 2-D kernel over [X, Y] and OpenPCDet's over [Y, X]: outputs are transposes."""
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3, 3)
    theirs = PCDET.to_theirs("fusion.fuser.0.weight", weight)
    x = torch.randn(1, 3, 5, 6)
    ours_out = F.conv2d(x, weight, padding=1)
    theirs_out = F.conv2d(x.transpose(2, 3), theirs, padding=1)
    assert torch.allclose(ours_out, theirs_out.transpose(2, 3), atol=1e-6)
    name = "camera.vtransform.downsample.0.weight"
    assert PCDET.to_theirs(name, weight) is weight  # turned there after this layer


def test_transposed_deformable_kernel_gives_the_same_output() -> None:
    """Offsets come as (row, column) by taps: both swap with the map's axes."""
    from sparsefront.models.heads.deform_conv import DeformConv

    torch.manual_seed(0)
    layer, other = DeformConv(4, 4, 3, 2), DeformConv(4, 4, 3, 2)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        for key, tensor in layer.state_dict().items():
            theirs = PKU.to_theirs(f"fusion.head.task_heads.0.feature_adapt_cls.{key}", tensor)
            other.state_dict()[key].copy_(theirs)
        x = torch.randn(1, 4, 6, 7)
        wanted = layer(x)
        found = other(x.transpose(2, 3)).transpose(2, 3)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_deformable_convolution_by_hand() -> None:
    """Without offsets it is a convolution; a constant offset of one row is a shifted map."""
    from sparsefront.models.heads.deform_conv import DeformConv

    torch.manual_seed(0)
    layer = DeformConv(2, 3, 3, 1).double()
    x = torch.randn(1, 2, 6, 5).double()
    with torch.no_grad():
        plain = F.conv2d(x, layer.conv.weight, padding=1)
        assert torch.allclose(layer(x), plain, atol=1e-9)
        layer.conv_offset.bias[0::2] = 1.0  # every tap one row further down
        assert torch.allclose(layer(x)[:, :, :-2], plain[:, :, 1:-1], atol=1e-9)


def official_merging(x: torch.Tensor, layer: PatchMerging) -> torch.Tensor:
    """As the authors of Swin join neighbours: whole channel blocks, rows first."""
    parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    joined = torch.cat(parts, dim=-1).flatten(1, 2)
    out: torch.Tensor = layer.reduction(layer.norm(joined))
    return out


def test_official_patch_merging_gives_the_same_output() -> None:
    """The permuted layer says on neighbours by channel what the official one says by block."""
    torch.manual_seed(0)
    official, ours = PatchMerging(3).double(), PatchMerging(3).double()
    for parameter in official.parameters():
        nn.init.normal_(parameter)
    for key, tensor in official.state_dict().items():
        turned = OFFICIAL.to_ours(f"stages.0.downsample.{key}", tensor, tensor.shape)
        assert turned is not None
        ours.state_dict()[key].copy_(turned)
    x = torch.randn(2, 4, 6, 3).double()
    found, size = ours(x.flatten(1, 2), (4, 6))
    assert size == (2, 3)
    assert torch.allclose(found, official_merging(x, official), atol=1e-12)


def test_pretrained_swin_loads_under_both_names() -> None:
    """With a detector's prefix and parts around it; output norms may be absent."""
    torch.manual_seed(0)
    shape = (8, (1, 1), (2, 2), 3, 0.0, (1,))
    source, by_name, by_official = (Swin(*shape) for _ in range(3))
    state = source.state_dict()
    around = {"backbone." + k: v for k, v in state.items()} | {"rpn_head.weight": torch.zeros(1)}
    assert load_swin(by_name, around, "file") == len(state) - 2  # position indices are fixed
    official = {OFFICIAL.their_name(k): OFFICIAL.to_theirs(k, v) for k, v in state.items()}
    bare = {k: v for k, v in official.items() if not k.startswith("norm1")}
    load_swin(by_official, {**bare, "head.weight": torch.zeros(1)}, "file")
    for key, tensor in state.items():
        assert torch.equal(by_name.state_dict()[key], tensor), key
        if not key.startswith("norm1"):
            assert torch.equal(by_official.state_dict()[key], tensor), key
    with pytest.raises(InputError, match=r"no such Swin: layers\.0\.blocks\.0\.attn\.qkv\.weight"):
        load_swin(Swin(*shape), {k: v for k, v in official.items() if "qkv.weight" not in k}, "f")


@pytest.mark.parametrize("convention", [MIT_BOXES, CENTRED, LENGTH_FIRST, CAFFE])
def test_decoding_inverts_encoding_of_every_convention(convention: Convention) -> None:
    torch.manual_seed(0)
    boxes = torch.randn(5, 9)
    back = convention.decode(convention.encode(boxes))
    assert torch.allclose(back, boxes, atol=1e-6)


def test_conventions_by_hand() -> None:
    """A car of 4 x 2 m heading along +y: width along x; the old yaw is -yaw - pi / 2."""
    box = torch.tensor([[1.0, 2, 3, 4, 2, 1.5, torch.pi / 2, 0, 0]])
    assert torch.allclose(MIT_BOXES.encode(box)[0, 3:7], torch.tensor([2, 4, 1.5, -torch.pi]))
    assert torch.equal(LENGTH_FIRST.encode(box), box)
    image = torch.zeros(3, 1, 1)  # ImageNet's mean colour: 123.675, 116.28, 103.53
    assert torch.allclose(CAFFE.images(image), torch.zeros(3, 1, 1), atol=1e-4)
    red = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    assert CAFFE.images(red)[2].item() == pytest.approx(58.395, abs=1e-3)
