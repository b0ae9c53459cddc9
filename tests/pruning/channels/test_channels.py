"""Channels: what is tied to what, and that a smaller model says what the masked one said."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsefront.models.lidar.sparse_conv import spconv, strided, submanifold
from sparsefront.models.lidar.sparse_encoder import to_dense
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.channels.graph import STAYS, ChannelGraph, channel_graph
from sparsefront.pruning.channels.norms import WideLayerNorm
from sparsefront.pruning.channels.removal import kept_from_json, kept_to_json, shrink
from sparsefront.pruning.channels.select import kept_positions, select, unit_scores, weight_masks
from sparsefront.pruning.channels.verify import verify
from sparsefront.pruning.criteria import Magnitude
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.prune import prune
from sparsefront.pruning.scores import ImportanceScores


def call(model: Any, batch: Any) -> Any:
    return model(batch)


def shuffled(model: nn.Module) -> nn.Module:
    """float64, norms with statistics and shifts that are not trivial."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model.double().eval()


def half(graph: ChannelGraph) -> Tensor:
    """Every other unit stays."""
    return torch.arange(len(graph)) % 2 == 0


def check_removal(model: nn.Module, batch: Any) -> tuple[ChannelGraph, nn.Module]:
    """Masks half of the units, removes them, compares; returns the graph and the smaller model."""
    model = shuffled(model)
    graph = channel_graph(model, batch, call)
    assert len(graph) > 0
    kept = half(graph)
    masked = copy.deepcopy(model)
    parameters = dict(masked.named_parameters())
    with torch.no_grad():
        for name, mask in weight_masks(graph, kept, parameters).items():
            parameters[name].masked_fill_(~mask, 0)
        wanted = masked(batch)
        positions = kept_from_json(
            json.loads(json.dumps(kept_to_json(kept_positions(graph, kept))))
        )
        smaller = shrink(copy.deepcopy(masked), positions)
        assert torch.allclose(smaller(batch), wanted, rtol=0, atol=1e-9)
    assert wanted.any()
    before = sum(p.numel() for p in model.parameters())
    assert sum(p.numel() for p in smaller.parameters()) < before
    rebuilt = shrink(copy.deepcopy(model), positions)
    rebuilt.load_state_dict(smaller.state_dict())  # every size is told right
    return graph, smaller


def test_chain_by_hand() -> None:
    """Inputs and what forward returns stay; the three in between are units 0, 1, 2."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    graph = channel_graph(model, torch.ones(1, 2), call)
    found = {name: {a: u.tolist() for a, u in axes.items()} for name, axes in graph.axes.items()}
    assert found == {
        "0.weight": {1: [STAYS] * 2, 0: [0, 1, 2]},
        "0.bias": {0: [0, 1, 2]},
        "2.weight": {1: [0, 1, 2], 0: [STAYS]},
        "2.bias": {0: [STAYS]},
    }
    assert graph.made_by == (("0.weight",),) * 3


class Residual(nn.Module):
    """A stem, two blocks on its stream, one with a depthwise layer, and a sum over space."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.a = nn.Sequential(nn.Conv2d(6, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6))
        self.b = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.GELU())
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.stem(x), 2)
        x = functional.relu(x + self.a(x))
        x = x + self.b(x)
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


def test_residual_stream() -> None:
    """stem, a.2 and b tie into six units; a.0 makes four of its own."""
    graph, _ = check_removal(Residual(), torch.randn(2, 3, 8, 8).double())
    assert sorted(set(graph.made_by)) == [("a.0.weight",), ("stem.0.weight", "a.2.weight")]
    assert len(graph) == 10
    assert torch.equal(graph.axes["b.0.weight"][0], graph.axes["stem.0.weight"][0])


class Pyramid(nn.Module):
    """Upsampling, concatenation with another map, transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 4, 3, padding=1)
        self.coarse = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.joined = nn.Conv2d(9, 6, 1)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.out = nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        up = functional.interpolate(self.coarse(x), scale_factor=2.0, mode="bilinear")
        x = self.joined(torch.cat([self.fine(x), up], dim=1))
        out: Tensor = self.out(functional.relu(self.norm(self.up(x))))
        return out


def test_concatenation_and_transposed_convolution() -> None:
    graph, smaller = check_removal(Pyramid(), torch.randn(1, 3, 8, 8).double())
    assert len(graph) == 4 + 5 + 6 + 4
    line = graph.axes["joined.weight"][1].tolist()
    assert line == [
        *graph.axes["fine.weight"][0].tolist(),
        *graph.axes["coarse.weight"][0].tolist(),
    ]
    assert isinstance(smaller.up, nn.ConvTranspose2d)
    assert (smaller.up.in_channels, smaller.up.out_channels) == (3, 2)


class WindowAttention(nn.Module):
    """Swin's attention inside windows of four tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(16, heads))

    def forward(self, x: Tensor) -> Tensor:
        windows, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(windows, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        bias = self.relative_position_bias_table.view(tokens, tokens, -1).permute(2, 0, 1)
        weights = ((q * self.scale) @ k.mT + bias).softmax(-1)
        out: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return out


class Swin(nn.Module):
    """Patch embedding, one shifted-window block, patch merging."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 2, 2)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(8), nn.LayerNorm(8), nn.LayerNorm(32)
        self.attention = WindowAttention(8, 4)
        self.mlp = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))
        self.merge = nn.Linear(32, 6, bias=False)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).permute(0, 2, 3, 1)
        frames, height, width, channels = x.shape
        shifted = torch.roll(self.norm1(x), (-1, -1), dims=(1, 2))
        windows = shifted.view(frames, height // 2, 2, width // 2, 2, channels)
        windows = windows.permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, channels)
        out = self.attention(windows).view(frames, height // 2, width // 2, 2, 2, -1)
        out = out.permute(0, 1, 3, 2, 4, 5).reshape(frames, height, width, channels)
        x = x + torch.roll(out, (1, 1), dims=(1, 2))
        x = x + self.mlp(self.norm2(x))
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        x = self.merge(self.norm3(torch.cat(parts, dim=-1)))
        result: Tensor = self.head(x.mean(dim=(1, 2)))
        return result


def test_window_attention_and_patch_merging() -> None:
    """Units: 8 of the stream (embed, proj, mlp.2), 4 heads, 12 of the MLP, 6 after merging."""
    model = Swin()
    graph, smaller = check_removal(model, torch.randn(1, 3, 8, 8).double())
    assert len(graph) == 8 + 4 + 12 + 6
    stream = graph.axes["embed.weight"][0]
    assert torch.equal(graph.axes["norm3.weight"][0], stream.repeat(4))
    assert torch.equal(graph.axes["merge.weight"][1], stream.repeat(4))
    heads = graph.axes["attention.relative_position_bias_table"][1]
    assert torch.equal(graph.axes["attention.qkv.weight"][0], heads.repeat_interleave(2).repeat(3))
    assert smaller.attention.num_heads == 2  # type: ignore[union-attr]
    assert isinstance(smaller.norm1, WideLayerNorm)


def test_wide_layer_norm_by_hand() -> None:
    """x = (3, 1) of width 4 is (3, 1, 0, 0): mean 1, variance (9 + 1) / 4 - 1 = 1.5."""
    wide = WideLayerNorm(torch.ones(2).double(), torch.zeros(2).double(), 4, 0.0)
    out = wide(torch.tensor([[3.0, 1.0]]).double())
    assert out.tolist()[0] == pytest.approx([2 / 1.5**0.5, 0.0])


class Lift(nn.Module):
    """depth | context split: a softmax over depth, times the context; then a scatter to cells and a
    reshape that folds two heights into channels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, 5 + 4, 1)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.net(x)
        depth, context = x[:, :5].softmax(1), x[:, 5:]
        lifted = depth.unsqueeze(-1) * context.permute(0, 2, 3, 1).unsqueeze(1)
        points = lifted.reshape(-1, lifted.shape[-1])
        cells = torch.arange(len(points)) % 8
        pooled = points.new_zeros(8, points.shape[1]).index_add(0, cells, points)
        grid = pooled.view(1, 2, 2, 2, -1).permute(0, 4, 3, 1, 2)  # [B, C, height, X, Y]
        out: Tensor = self.out(grid.flatten(1, 2))
        return out


def test_lift_splat() -> None:
    """Depth bins stay; context channel c is BEV channels 2c and 2c + 1."""
    graph, _ = check_removal(Lift(), torch.randn(1, 3, 4, 4).double())
    assert graph.axes["net.weight"][0].tolist() == [STAYS] * 5 + [0, 1, 2, 3]
    assert graph.axes["out.weight"][1].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


class Mixed(nn.Module):
    """Operations that mix channels: everything before them stays."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.scale = nn.Parameter(torch.ones(4))
        self.free, self.last = nn.Linear(4, 6), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).sigmoid()  # 0.5 where a channel is zero
        x, _ = self.attention(self.b(x), x, x)
        x = self.c(x) * self.scale  # a bare parameter, which nobody would shorten
        x = x + 1.0
        out: Tensor = self.last(self.free(x).tanh())
        return out


class Sparse(nn.Module):
    """spconv: a strided layer, a residual submanifold block, dense, height folded in channels."""

    def __init__(self) -> None:
        super().__init__()
        self.down = strided(5, 6, (3, 3, 3), (2, 2, 2), (1, 1, 1), "down")
        self.a = submanifold(6, 4, "block")
        self.b = submanifold(4, 6, "block")
        self.out = nn.Conv2d(12, 2, 1)

    def forward(self, x: Any) -> Tensor:
        x = self.down(spconv.SparseConvTensor(*x, [8, 8, 4], 1))
        y = self.b(self.a(x))
        y = y.replace_feature(functional.relu(y.features + x.features))
        dense = to_dense(y)
        out: Tensor = self.out(dense.permute(0, 1, 4, 2, 3).flatten(1, 2))
        return out


def test_sparse_residual_block_to_bird_eye_view() -> None:
    """down and b tie into six units, a makes four; sparse channel c is BEV channels 2c, 2c + 1."""
    sites = torch.tensor([[0, x, y, z] for x in range(3) for y in range(3) for z in range(4)])
    model = Sparse()
    x = (torch.randn(len(sites), 5), sites.int())
    graph = channel_graph(model, x, call)
    assert len(graph) == 10
    line = graph.axes["out.weight"][1]
    assert torch.equal(line, graph.axes["b.0.weight"][0].repeat_interleave(2))
    assert torch.equal(graph.axes["b.0.weight"][0], graph.axes["down.0.weight"][0])
    shuffled(model).float()
    kept = half(graph)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, mask in weight_masks(graph, kept, parameters).items():
            parameters[name].masked_fill_(~mask, 0)
        smaller = shrink(copy.deepcopy(model), kept_positions(graph, kept))
        assert torch.allclose(smaller(x), model(x), rtol=0, atol=1e-5)
    assert smaller.a[0].in_channels == 3  # type: ignore[union-attr, index]


def test_what_mixes_stays() -> None:
    graph, _ = check_removal(Mixed(), torch.randn(2, 3, 4).double())
    assert len(graph) == 6
    assert set(graph.made_by) == {("free.weight",)}


class Gate(nn.Module):
    """One gate for all channels, and one gate a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.gate = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 1, 1)
        self.each, self.out = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x) * self.gate(x).relu()
        y = y * self.each(y).relu().mean((2, 3), keepdim=True)
        out: Tensor = self.out(y)
        return out


def test_gates() -> None:
    """The single gate has to stay; the gates of each channel go with their channel."""
    graph, _ = check_removal(Gate(), torch.randn(1, 3, 4, 4).double())
    assert set(graph.made_by) == {("body.weight", "each.weight")}
    assert len(graph) == 6
    assert graph.axes["gate.weight"][0].tolist() == [STAYS]


class Cut(nn.Module):
    """Fixed numbers along the channels: a slice, a chunk, a split into groups, a single one."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.a, self.out = nn.Linear(3, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        if self.how == "slice":
            x = torch.cat([x[..., 3:], x[..., :3]], dim=-1)
        elif self.how == "chunk":
            left, right = x.chunk(2, dim=-1)
            x = torch.cat([right, left], dim=-1)
        elif self.how == "equal":
            x = torch.cat(torch.split(x, 3, dim=-1)[::-1], dim=-1)
        elif self.how == "split":
            x = torch.cat(torch.split(x, [2, 5, 1], dim=-1)[::-1], dim=-1)
        elif self.how == "groups":
            x = x.view(-1, 2, 4).flip(1).flatten(1)
        elif self.how == "roll":
            x = torch.roll(x, 1, dims=-1)
        elif self.how == "index":
            x = x[:, torch.tensor([1, 0, 2, 3, 4, 5, 6, 7])]
        out: Tensor = self.out(x)
        return out


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ("none", 8),
        ("slice", 5),
        ("equal", 2),
        ("chunk", 0),
        ("split", 0),
        ("groups", 0),
        ("roll", 0),
        ("index", 0),
    ],
)
def test_what_lies_before_a_cut_stays(how: str, left: int) -> None:
    model = shuffled(Cut(how))
    x = torch.randn(2, 3).double()
    graph = channel_graph(model, x, call)
    assert len(graph) == left
    verify(model, x, call, graph)


class Fixed(nn.Module):
    """A size written in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        canvas = x.new_zeros(len(x), 4)
        canvas[:, :] = self.a(x)
        out: Tensor = self.out(canvas)
        return out


class Count(nn.Module):
    """A result that depends on how many channels there are."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        out: Tensor = self.out(x) / x.shape[-1]
        return out


class Sorted(nn.Module):
    """The order of close scores, as of queries: rounding lets some change places."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(64, 64), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.a(x)).flatten().argsort().to(x.dtype)


def test_places_swapped_by_rounding_are_no_fault() -> None:
    torch.manual_seed(0)
    model = Sorted()
    x = torch.randn(1, 64) + 1e-3 * torch.randn(2000, 64)
    graph = channel_graph(model, x, call)
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for weight in rounded.parameters():
            weight.mul_(1 + 1e-6 * torch.randn(weight.shape))
    assert 0.05 < float((rounded(x) != model(x)).float().mean()) < 0.9
    assert len(graph) == 64
    verify(model, x, call, graph)


@pytest.mark.parametrize(("kind", "said"), [(Fixed, "does not run"), (Count, "something else")])
def test_models_that_cannot_lose_channels_are_refused(kind: type[nn.Module], said: str) -> None:
    """prune() says so, and the model is as it was."""
    model = shuffled(kind())
    before = copy.deepcopy(model.state_dict())
    groups = ModalityGroups({"all": ("a", "out")})
    half = SparsityAllocation(overall=0.5, pattern="channel")
    with pytest.raises(ValueError, match=said):
        prune(model, Magnitude(), half, [torch.randn(2, 3).double()], lambda m, b: m(b), groups)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_attention_called_by_keywords_pins_what_it_reads() -> None:
    class Keywords(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.free, self.out = nn.Linear(4, 6), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            x, _ = self.attention(query=x, key=x, value=x)
            out: Tensor = self.out(self.free(x).relu())
            return out

    graph, _ = check_removal(Keywords(), torch.randn(2, 3, 4).double())
    assert set(graph.made_by) == {("free.weight",)}


def test_model_is_left_as_it_was() -> None:
    model = Residual().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    channel_graph(model, torch.randn(2, 3, 8, 8), call)
    assert model.training
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def two_branches() -> tuple[nn.Module, ChannelGraph, ModalityGroups]:
    model = nn.Sequential()
    model.camera = nn.Linear(2, 4, bias=False)
    model.lidar = nn.Linear(4, 2, bias=False)
    model.fusion = nn.Linear(2, 1, bias=False)
    graph = channel_graph(
        model, torch.ones(1, 2), lambda m, x: m.fusion(m.lidar(m.camera(x).relu()).relu())
    )
    return model, graph, ModalityGroups.from_model(model)


def test_selection_by_hand() -> None:
    """Camera rows of two weights have means 1, 4, 3, 2; half of four stay: rows 1 and 2."""
    _, graph, groups = two_branches()
    rows = torch.tensor([1.0, 4.0, 3.0, 2.0])
    scores = ImportanceScores(
        {
            "camera.weight": torch.stack([rows - 1, rows + 1], dim=1),
            "lidar.weight": torch.ones(2, 4),
            "fusion.weight": torch.ones(1, 2),
        }
    )
    for channels, wanted in {
        "mean": [1.0, 4.0, 3.0, 2.0], "sum": [2.0, 8.0, 6.0, 4.0], "filter": [1.0, 4.0, 3.0, 2.0],
    }.items():  # fmt: skip
        found = unit_scores(replace(scores, channels=channels), graph)  # type: ignore[arg-type]
        assert found[:4].tolist() == wanted
    allocation = SparsityAllocation(per_modality={"camera": 0.5}, pattern="channel")
    assert select(scores, allocation, groups, graph).tolist() == [
        False, True, True, False, True, True,
    ]  # fmt: skip


def test_at_least_one_channel_of_every_layer_stays() -> None:
    model, graph, groups = two_branches()
    scores = Magnitude().scores(model, groups, [], lambda m, b: m(b))
    allocation = SparsityAllocation(per_modality={"camera": 0.74}, pattern="channel")
    assert int(select(scores, allocation, groups, graph)[:4].sum()) == 1
    with pytest.raises(ValueError, match=r"keeps 0 of 4 channels"):
        select(
            scores,
            SparsityAllocation(per_modality={"camera": 0.9}, pattern="channel"),
            groups,
            graph,
        )
    with pytest.raises(ValueError, match="allowed for channels"):
        select(scores, SparsityAllocation(rule="erk", pattern="channel"), groups, graph)


def test_files_of_another_model() -> None:
    model = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(ValueError, match="no tensor 1"):
        shrink(model, {"1.weight": {0: [0]}})
    with pytest.raises(ValueError, match="another model"):
        shrink(model, {"0.weight": {0: [7]}})
