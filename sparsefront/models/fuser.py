"""How the modalities' BEV maps become one: concatenated, added or gated, then batch norm and ReLU.

concat  one 3x3 convolution over all channels (BEVFusion's ConvFuser, Liu et al., ICRA 2023)
add     a 1x1 projection of each map, and their sum: a ninth of the multiplications. With 3x3
        projections it would be concat, as a convolution is linear.
gated   concat, each map first times its own gate, one number a cell in 0..2: twice the sigmoid of a
        3x3 convolution over all channels. After 3D-CVF's adaptive gated fusion (Yoo et al., ECCV
        2020), there once the sigmoid; with zero weights a gate is 1 and the fuser is concat.

Shape legend: B frames, C channels, X x Y cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models.camera.resnet import conv_bn_relu
from sparsefront.plugins import Plugin

FuserKind = Literal["concat", "add", "gated"]
if TYPE_CHECKING:

    class OwnFuser(Protocol):
        """A fuser of one's own, as a sweep file names it. The module takes the maps in the order of
        `channels_in` (modality -> C_i) and may have from_concat(state), as AddFuser has.
        """

        name: str

        def build(self, channels_in: Mapping[str, int], channels: int) -> nn.Module: ...

else:
    OwnFuser = Annotated[Any, Plugin("fuser")]
AnyFuser = FuserKind | OwnFuser
PREFIX = "fusion.fuser."
"""Of the fuser's names, in every model that lets it be chosen."""


class ConvFuser(nn.Module):
    """Maps in the order given, then 3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = conv_bn_relu(channels_in, channels, 3, 1)

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps [B, C_i, X, Y] -> [B, C, X, Y]"""
        out: Tensor = self.conv(torch.cat(maps, dim=1))
        return out


class ConcatConv(nn.Sequential):
    """The same under the published names: 0 the convolution, 1 the batch norm."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps [B, C_i, X, Y] -> [B, C, X, Y]"""
        out: Tensor = super().forward(torch.cat(maps, dim=1))
        return out


class AddFuser(nn.Module):
    """ReLU(norm(sum_i P_i x_i)), P_i a 1x1 convolution."""

    def __init__(self, channels_in: Mapping[str, int], channels: int) -> None:
        super().__init__()
        self.project = nn.ModuleDict(
            {name: nn.Conv2d(c, channels, 1, bias=False) for name, c in channels_in.items()}
        )
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps [B, C_i, X, Y], one a modality in their order -> [B, C, X, Y]"""
        first, *others = (p(x) for p, x in zip(self.project.values(), maps, strict=True))
        out: Tensor = self.norm(sum(others, start=first)).relu()
        return out

    def from_concat(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each projection from its slice of the 3x3 kernel, summed over its nine positions: the
        same where a map does not vary.
        """
        kernel, norm = convolution_and_norm(state)
        return {**self.projections(kernel.sum((2, 3))), **{f"norm.{k}": v for k, v in norm.items()}}

    def projections(self, matrix: Tensor) -> dict[str, Tensor]:
        """Entries of the state dict from one matrix [C, sum C_i]."""
        parts = matrix.split([p.in_channels for p in self._layers()], dim=1)
        return {
            f"project.{name}.weight": part[:, :, None, None].contiguous()
            for name, part in zip(self.project, parts, strict=True)
        }

    def _layers(self) -> list[nn.Conv2d]:
        return [layer for layer in self.project.values() if isinstance(layer, nn.Conv2d)]


class GatedFuser(nn.Module):
    """join(g_1 x_1, g_2 x_2, ...) with g_i = 2 sigmoid(gate(x_1, x_2, ...)_i)."""

    def __init__(self, join: ConvFuser | ConcatConv, channels_in: Mapping[str, int]) -> None:
        super().__init__()
        self.join = join
        self.gate = nn.Conv2d(sum(channels_in.values()), len(channels_in), 3, padding=1)
        nn.init.zeros_(self.gate.weight)
        assert self.gate.bias is not None
        nn.init.zeros_(self.gate.bias)

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps [B, C_i, X, Y], one a modality in their order -> [B, C, X, Y]"""
        gates = self.gates(*maps).split(1, dim=1)
        out: Tensor = self.join(*(x * gate for x, gate in zip(maps, gates, strict=True)))
        return out

    def gates(self, *maps: Tensor) -> Tensor:
        """[B, number of maps, X, Y] in 0..2"""
        return 2 * self.gate(torch.cat(maps, dim=1)).sigmoid()

    def from_concat(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same convolution and norm, gates at 1: the same output, bit for bit."""
        gate = {f"gate.{k}": torch.zeros_like(v) for k, v in self.gate.state_dict().items()}
        return {**{f"join.{name}": tensor for name, tensor in state.items()}, **gate}


Fuser = ConvFuser | ConcatConv | AddFuser | GatedFuser


def build_fuser(
    kind: AnyFuser,
    channels_in: Mapping[str, int],
    channels: int,
    concat: type[ConvFuser] | type[ConcatConv],
) -> nn.Module:
    """channels_in: of each modality, in the order of the maps; concat: the one of the model."""
    if not isinstance(kind, str):
        return kind.build(channels_in, channels)
    if kind == "add":
        return AddFuser(channels_in, channels)
    join = concat(sum(channels_in.values()), channels)
    return GatedFuser(join, channels_in) if kind == "gated" else join


def require_two(kind: AnyFuser, modalities: int, model: str) -> None:
    """InputError where a model with one modality is to add or gate."""
    if kind != "concat" and modalities < 2:
        raise InputError(
            f"fuser: value {kind!r}; {model} has one modality and fuses nothing; allowed: concat"
        )


def never_pruned(fuser: nn.Module | None) -> frozenset[str]:
    """A gate's weights: they start at zero, so that every criterion would take them first."""
    return frozenset({f"{PREFIX}gate.weight"} if isinstance(fuser, GatedFuser) else ())


def kind_of(names: Mapping[str, object]) -> FuserKind:
    """The kind of fuser that has these names below it."""
    first = {name.partition(".")[0] for name in names}
    return "gated" if "gate" in first else "add" if "project" in first else "concat"


def convolution_and_norm(state: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Kernel [C, sum C_i, 3, 3] of a concat fuser, and the state dict of its batch norm."""
    plain = {name.removeprefix("conv."): tensor for name, tensor in state.items()}
    norm = {n.removeprefix("1."): tensor for n, tensor in plain.items() if n.startswith("1.")}
    return plain["0.weight"], norm
