"""What the channel graph ties, and that a smaller model gives the outputs of the masked one."""

from __future__ import annotations

import copy
import json
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsefront.models.lidar.sparse_conv import spconv, strided, submanifold
from sparsefront.models.lidar.sparse_encoder import to_dense
from sparsefront.pruning.channels.graph import STAYS, ChannelGraph, channel_graph
from sparsefront.pruning.channels.norms import WideLayerNorm
from sparsefront.pruning.channels.removal import kept_from_json, kept_to_json, shrink
from sparsefront.pruning.channels.select import kept_positions, weight_masks
from tests.helpers.channels import half, shuffled


def check_removal(model: nn.Module, batch: Any) -> tuple[ChannelGraph, nn.Module]:
    """Masks half of the units, removes them, compares; returns the graph and the smaller model."""
    model = shuffled(model)
    graph = channel_graph(model, batch)
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


def test_units_of_a_chain() -> None:
    """Inputs and what forward returns stay; the three in between are units 0, 1, 2."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    graph = channel_graph(model, torch.ones(1, 2))
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


def test_a_residual_stream_ties_its_layers() -> None:
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


def test_concatenation_keeps_the_order_of_channels() -> None:
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


def test_window_attention_loses_whole_heads() -> None:
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


def test_lift_splat_keeps_depth_bins() -> None:
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


def test_sparse_channels_map_to_bev_channels() -> None:
    """down and b tie into six units, a makes four; sparse channel c is BEV channels 2c, 2c + 1."""
    sites = torch.tensor([[0, x, y, z] for x in range(3) for y in range(3) for z in range(4)])
    model = Sparse()
    x = (torch.randn(len(sites), 5), sites.int())
    graph = channel_graph(model, x)
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


def test_a_single_gate_stays_and_channel_gates_go() -> None:
    """The single gate has to stay; the gates of each channel go with their channel."""
    graph, _ = check_removal(Gate(), torch.randn(1, 3, 4, 4).double())
    assert set(graph.made_by) == {("body.weight", "each.weight")}
    assert len(graph) == 6
    assert graph.axes["gate.weight"][0].tolist() == [STAYS]


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
    channel_graph(model, torch.randn(2, 3, 8, 8))
    assert model.training
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
