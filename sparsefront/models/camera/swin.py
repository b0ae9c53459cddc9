"""Swin transformer (Liu et al., ICCV 2021), with the parameter names of the published BEVFusion.

Shape legend: B images, H x W patches, L = H W tokens, C channels, w window side, h heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsefront.models.recompute import RecomputedBlock


class DropPath(nn.Module):
    """Stochastic depth: drops a residual branch of a whole sample while training."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        shape = (len(x),) + (1,) * (x.ndim - 1)
        kept = x.new_empty(shape).bernoulli_(1 - self.probability)
        return x * kept / (1 - self.probability)


class WindowAttention(nn.Module):
    """Attention among the tokens of each window, with a learned bias by relative position."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.relative_position_index: Tensor
        self.register_buffer("relative_position_index", relative_positions(window))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, blocked: Tensor | None = None) -> Tensor:
        """x [windows, w*w, C]; blocked [windows an image, w*w, w*w], -100 for pairs kept apart"""
        windows, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(windows, tokens, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [windows, h, w*w, C/h]
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = bias.view(tokens, tokens, -1).permute(2, 0, 1).unsqueeze(0)  # [1, h, w*w, w*w]
        if blocked is not None:
            images = windows // len(blocked)
            bias = (bias + blocked.unsqueeze(1)).repeat(images, 1, 1, 1)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        result: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return result


class ShiftedWindows(nn.Module):
    """Pads to whole windows, shifts, attends inside each window, and undoes both."""

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.w_msa = WindowAttention(channels, heads, window)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """x [B, L, C] of a size (H, W)"""
        height, width = size
        window, shift = self.window, self.shift
        below, right = -height % window, -width % window
        x = F.pad(x.unflatten(1, size), (0, 0, 0, right, 0, below))
        blocked = None
        if shift:
            x = torch.roll(x, (-shift, -shift), dims=(1, 2))
            blocked = blocked_pairs(height + below, width + right, window, shift, x.device).to(x)
        rows, columns = (height + below) // window, (width + right) // window
        images = len(x)
        x = x.view(images, rows, window, columns, window, -1).permute(0, 1, 3, 2, 4, 5)
        x = self.w_msa(x.reshape(-1, window * window, x.shape[-1]), blocked)
        x = x.view(images, rows, columns, window, window, -1).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(images, rows * window, columns * window, -1)
        if shift:
            x = torch.roll(x, (shift, shift), dims=(1, 2))
        return x[:, :height, :width].flatten(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(channels, hidden), nn.GELU())
        self.layers = nn.Sequential(first, nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class SwinBlock(RecomputedBlock):
    """x + attention(norm1(x)), then x + ffn(norm2(x))."""

    def __init__(self, channels: int, heads: int, window: int, shift: int, drop: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn = ShiftedWindows(channels, heads, window, shift)
        self.ffn = FeedForward(channels, 4 * channels)
        self.drop_path = DropPath(drop)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        out: Tensor = x + self.drop_path(self.ffn(self.norm2(x)))
        return out


class PatchMerging(nn.Module):
    """2 x 2 neighbours into one token of twice the channels; of the 4 C inputs, channel c of the
    neighbour at (row i, column j) is number 4 c + 2 i + j (channel-major, as mmdetection's).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor, size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        height, width = size
        x = F.pad(x.unflatten(1, size), (0, 0, 0, width % 2, 0, height % 2))
        images, height, width, _ = x.shape
        x = x.view(images, height // 2, 2, width // 2, 2, -1).permute(0, 1, 3, 5, 2, 4)
        x = x.reshape(images, height // 2 * (width // 2), -1)
        return self.reduction(self.norm(x)), (height // 2, width // 2)


class SwinStage(nn.Module):
    """Blocks, every second one shifted by half a window; then merging, except in the last stage."""

    def __init__(
        self, channels: int, heads: int, window: int, drops: list[float], merges: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(channels, heads, window, window // 2 if i % 2 else 0, drop)
            for i, drop in enumerate(drops)
        )
        self.downsample = PatchMerging(channels) if merges else None

    def forward(
        self, x: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, tuple[int, int], tuple[int, int]]:
        """-> tokens after the blocks, tokens for the next stage, and the sizes of both"""
        for block in self.blocks:
            x = block(x, size)
        if self.downsample is None:
            return x, x, size, size
        smaller, smaller_size = self.downsample(x, size)
        return x, smaller, size, smaller_size


class PatchEmbedding(nn.Module):
    """4 x 4 pixels to a token."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, channels, 4, 4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        height, width = images.shape[-2:]
        x = self.projection(F.pad(images, (0, -width % 4, 0, -height % 4)))
        return self.norm(x.flatten(2).transpose(1, 2)), (x.shape[2], x.shape[3])


class Swin(nn.Module):
    """Maps of the stages in `levels`, each normalised; stage i has stride 2^(i + 2)."""

    def __init__(
        self,
        channels: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        heads: tuple[int, ...] = (3, 6, 12, 24),
        window: int = 7,
        drop_path: float = 0.2,
        levels: tuple[int, ...] = (1, 2, 3),
        embeds: bool = True,
    ) -> None:
        super().__init__()
        self.levels = levels
        if embeds:
            self.patch_embed = PatchEmbedding(channels)
        total = sum(depths)
        drops = [drop_path * i / max(1, total - 1) for i in range(total)]
        self.stages = nn.ModuleList()
        for i, (depth, count) in enumerate(zip(depths, heads, strict=True)):
            mine = [drops.pop(0) for _ in range(depth)]
            merges = i + 1 < len(depths)
            self.stages.append(SwinStage(channels * 2**i, count, window, mine, merges))
        for i in levels:
            self.add_module(f"norm{i}", nn.LayerNorm(channels * 2**i))

    def forward(self, images: Tensor) -> list[Tensor]:
        """images [B, 3, H, W] -> maps [B, C 2^i, H / 2^(i + 2), W / 2^(i + 2)], i in levels"""
        return self.run_stages(*self.patch_embed(images))

    def run_stages(
        self, x: Tensor, size: tuple[int, int], added: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """The stages over tokens [B, L, C]; `added` [B, C 2^i, H, W] joins the input of stage i,
        brought to its size (nearest).
        """
        maps = []
        for i, stage in enumerate(self.stages):
            if added is not None:
                joining = added[i]
                if tuple(joining.shape[-2:]) != size:
                    joining = F.interpolate(joining, size=size, mode="nearest")
                x = x + joining.flatten(2).transpose(1, 2)
            done, x, size_done, size = stage(x, size)
            if i in self.levels:
                normed = getattr(self, f"norm{i}")(done)
                maps.append(normed.transpose(1, 2).unflatten(2, size_done))
        return maps


class DualSwin(nn.Module):
    """Two Swins (CBNet, Liang et al., 2022): the maps of the first, at this and every coarser
    stage, join the inputs of the second, whose maps go on: strides 4, 8, 16, 32.
    """

    def __init__(
        self,
        channels: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        heads: tuple[int, ...] = (3, 6, 12, 24),
        window: int = 7,
        drop_path: float = 0.2,
    ) -> None:
        super().__init__()
        stages = len(depths)
        levels = tuple(range(stages))
        shape = (channels, depths, heads, window, drop_path, levels)
        self.cb_modules = nn.ModuleList([Swin(*shape), Swin(*shape, embeds=False)])
        self.cb_linears = nn.ModuleList()
        for i in range(stages):
            joining: list[nn.Module] = [nn.Identity()]
            for j in range(i + 1, stages):
                joining.append(nn.Conv2d(channels * 2**j, channels * 2**i, 1))
            self.cb_linears.append(nn.ModuleList(joining))

    def forward(self, images: Tensor) -> list[Tensor]:
        first, second = self.cb_modules
        assert isinstance(first, Swin)
        assert isinstance(second, Swin)
        x, size = first.patch_embed(images)
        maps = first.run_stages(x, size)
        sizes = [size, *(tuple(m.shape[-2:]) for m in maps[1:])]
        added = []
        for i, layers in enumerate(self.cb_linears):
            parts = [layer(m) for layer, m in zip(layers, maps[i:], strict=True)]  # type: ignore[call-overload]
            parts = [F.interpolate(p, size=sizes[i], mode="nearest") for p in parts]
            added.append(torch.stack(parts).sum(0))
        return second.run_stages(x, size, added)


def relative_positions(window: int) -> Tensor:
    """Row of the bias table for each pair of tokens in a window, int64 [w*w, w*w]."""
    at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij"))
    offset = at.flatten(1).unsqueeze(2) - at.flatten(1).unsqueeze(1) + window - 1  # [2, w*w, w*w]
    return offset[0] * (2 * window - 1) + offset[1]


def blocked_pairs(
    height: int, width: int, window: int, shift: int, device: torch.device | None = None
) -> Tensor:
    """-100 for tokens that only the cyclic shift brought into one window, else 0:
    [windows, w*w, w*w].
    """
    region = torch.zeros(height, width, device=device)
    cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((r, c) for r in cuts for c in cuts):
        region[rows, columns] = number
    region = region.view(height // window, window, width // window, window)
    region = region.permute(0, 2, 1, 3).reshape(-1, window * window)
    return -100.0 * (region.unsqueeze(1) != region.unsqueeze(2)).float()
