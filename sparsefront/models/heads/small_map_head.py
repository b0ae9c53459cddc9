"""The map head of the small BEVFusion. It narrows the features first, as the map has many more
cells than a box head needs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsefront.models.camera.resnet import conv_bn_relu
from sparsefront.models.heads.map_head import MapHead, map_goal, map_losses
from sparsefront.models.precision import at_least_float32
from sparsefront.scenes.batch import MapProbabilities, Targets

LAST_WEIGHT = "map.classifier.6.weight"


class SmallMapHead(nn.Module):
    """A convolution down to `channels`, then the published head on 0.5 m cells within 50 m."""

    def __init__(self, channels_in: int, channels: int, half_side_m: float) -> None:
        super().__init__()
        self.shared = conv_bn_relu(channels_in, channels, 3, 1)
        self.map = MapHead(channels, half_side_m)
        last = self.map.classifier[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.constant_(last.bias, -2.19)  # prior probability of 0.1

    def forward(self, bev: Tensor) -> dict[str, Tensor]:
        """[B, C, X, Y] -> {"map": logits [B, 6, 200, 200]}"""
        out: dict[str, Tensor] = self.map(self.shared(bev))
        return out

    def loss(self, outputs: dict[str, Tensor], targets: tuple[Targets, ...]) -> Tensor:
        """Sum of the classes' focal losses. InputError where the targets have no maps."""
        losses = map_losses(outputs["map"], map_goal(targets))
        return torch.stack(list(losses.values())).sum()

    @torch.no_grad()
    def decode(self, outputs: dict[str, Tensor]) -> list[MapProbabilities]:
        """The probabilities of each frame."""
        probabilities = at_least_float32(outputs["map"]).sigmoid()
        return [MapProbabilities(probabilities=one) for one in probabilities]
