"""Prune a two-branch model of your own: groups by name, any criterion, exact sparsity.

python examples/prune_your_model.py
"""

import torch
from torch import nn

from sparsefront import ModalityGroups, SparsityAllocation, profile, prune, shrink
from sparsefront.pruning.criteria import AlterMOMA


class TwoBranches(nn.Module):
    def __init__(self):
        super().__init__()
        self.image_net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
        self.point_net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 8))
        self.head = nn.Linear(16, 1)

    def forward(self, batch):
        image, points, _ = batch
        return self.head(torch.cat([self.image_net(image), self.point_net(points)], dim=1))


def loss(model, batch):
    return (model(batch) - batch[2]).square().mean()


torch.manual_seed(0)
model = TwoBranches()
batches = [(torch.randn(8, 16), torch.randn(8, 4), torch.randn(8, 1)) for _ in range(4)]
groups = ModalityGroups({"camera": ("image_net",), "lidar": ("point_net",), "fusion": ("head",)})
allocation = SparsityAllocation(per_modality={"camera": 0.8, "lidar": 0.5, "fusion": 0.25})

mask = prune(model, AlterMOMA(), allocation, batches, loss, groups)

frame = [tuple(part[:1] for part in batches[0])]
cost = profile(model, frame, groups=groups).cost(model)
print("removed:", {group: round(s, 3) for group, s in mask.sparsity_by_group(groups).items()})
print(f"MACs a frame: {cost.macs:.0f} of {cost.macs_dense:.0f}")

optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
with mask.hold(model, optimizer):  # pruned weights stay zero
    for batch in batches:
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
mask.check(model)

half = SparsityAllocation(overall=0.5, pattern="channel")  # whole channels, physically removed
mask = prune(model, AlterMOMA(structured=True), half, batches, loss, groups)
smaller = shrink(model, mask.channels)
print("sizes now:", {name: list(p.shape) for name, p in smaller.named_parameters() if p.ndim > 1})
