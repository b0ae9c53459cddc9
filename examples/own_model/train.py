"""The repository's own training, a minute on one core: `python train.py` writes dense.pt. Another
number of steps: `python train.py 150`.
"""

from __future__ import annotations

import sys

import torch
from datasets.objects import drawn
from models.two_branch import TwoBranch
from utils.losses import loss_of


def main(steps: int = 1200, out: str = "dense.pt") -> None:
    torch.set_num_threads(1)  # layers this small gain nothing from more
    torch.manual_seed(0)
    data, model = drawn("train", 2000), TwoBranch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        chosen = torch.randint(0, 2000, (32,))
        batch = {
            "image": data["image"][chosen],
            "radar": data["radar"][chosen],
            "label": {name: value[chosen] for name, value in data["label"].items()},
        }
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 200 == 0:
            print(f"step {step + 1}  loss {loss.item():.3f}")
    torch.save({"epoch": 1, "state_dict": model.state_dict()}, out)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
