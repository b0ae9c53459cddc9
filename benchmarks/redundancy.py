"""`python -m benchmarks.redundancy [CHECKPOINT] --out docs/redundancy.png`: what do AlterMOMA's
indicators say about what a removal really costs?

The weights of every camera and LiDAR layer fall into fifths by their ReRI. Each fifth is removed in
turn, and the loss on 4 frames measured with both sensors and with the other one masked; what the
other makes up for is r = (alone - both) / (alone + both) of those rises. Rank correlations go to
stdout, the removals to a picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from benchmarks.study import LONGER, spec_of
from sparsefront.pruning.criteria import AlterMOMA
from sparsefront.pruning.criteria.altermoma import ALONE, DECI, RERI
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.search.evaluation.calibration import calibration_batches
from sparsefront.search.trial import score_cache
from sparsefront.search.trial.shared import dense_model, prepare

matplotlib.use("Agg")
from matplotlib import pyplot

OTHER = {"camera": "lidar", "lidar": "camera"}
PARTS = 5
LEAST = 500
"""Weights of a layer; smaller ones are left out."""


@dataclass(frozen=True)
class Removal:
    """A fifth of a layer's weights: sums of the indicators over it, rises of the loss without it.

    alone  with the other sensor masked
    """

    group: str
    layer: str
    deci: float
    deci_alone: float
    reri: float
    both: float
    alone: float

    @property
    def made_up_for(self) -> float:
        return (self.alone - self.both) / (abs(self.alone) + abs(self.both))

    @property
    def by_masking(self) -> float:
        return (self.deci_alone - self.deci) / (self.deci_alone + self.deci)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", default=LONGER)
    parser.add_argument("--out", type=Path, default=Path("redundancy.png"))
    options = parser.parse_args()
    removals = measured(options.checkpoint)
    print(table(removals))
    draw(removals, options.out)


def measured(checkpoint: str) -> list[Removal]:
    spec = replace(spec_of(AlterMOMA(), seed=0), checkpoint=checkpoint, score_batches=8)
    masking = replace(spec, criterion=AlterMOMA(redundancy="masking"))
    shared = prepare(masking, prepare(spec))
    statistics = shared.statistics[score_cache.key_of(spec)]
    statistics |= shared.statistics[score_cache.key_of(masking)]
    model = dense_model(spec, shared).eval()
    frames = calibration_batches(spec.train_scenes(), spec.image, 1, 4, "cpu", batch_size=4)
    found = []
    for group, other in OTHER.items():
        found += [
            removal
            for name, weight in in_group(model, group)
            for removal in removals_of(model, frames, statistics, group, other, name, weight)
        ]
    return found


def in_group(model: nn.Module, group: str) -> list[tuple[str, nn.Parameter]]:
    parameters = dict(model.named_parameters())
    names = ModalityGroups.from_model(model).assign(
        {n: p for n, p in parameters.items() if p.ndim > 1}
    )[group]
    return [(n, parameters[n]) for n in names if parameters[n].numel() >= LEAST]


def removals_of(
    model: nn.Module,
    frames: list[Any],
    statistics: dict[str, dict[str, Tensor]],
    group: str,
    other: str,
    name: str,
    weight: nn.Parameter,
) -> Iterator[Removal]:
    reri = statistics[RERI + other][name]
    dense_both = loss(model, frames)
    with masked(model, other):
        dense_alone = loss(model, frames)
    for part in reri.flatten().argsort().chunk(PARTS):
        with removed(weight, part):
            both = loss(model, frames) - dense_both
            with masked(model, other):
                alone = loss(model, frames) - dense_alone
        sums = {
            key: float(statistics[key][name].flatten()[part].sum())
            for key in (DECI, ALONE + other, RERI + other)
        }
        yield Removal(group, name, sums[DECI], sums[ALONE + other], sums[RERI + other], both, alone)


@torch.no_grad()
def loss(model: Any, frames: list[Any]) -> float:
    losses = [float(model.loss(batch)) for batch in frames]
    return sum(losses) / len(losses)


@contextmanager
def removed(weight: nn.Parameter, part: Tensor) -> Iterator[None]:
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.view(-1)[part] = 0
    yield
    with torch.no_grad():
        weight.copy_(kept)


@contextmanager
def masked(model: nn.Module, group: str) -> Iterator[None]:
    """All of the group's parameters zero, as AlterMOMA masks."""
    own = [p for n, p in model.named_parameters() if n.startswith(f"{group}.")]
    kept = [p.detach().clone() for p in own]
    with torch.no_grad():
        for parameter in own:
            parameter.zero_()
    yield
    with torch.no_grad():
        for parameter, value in zip(own, kept, strict=True):
            parameter.copy_(value)


def table(removals: list[Removal]) -> str:
    lines = ["| | camera | LiDAR |", "|---|---|---|"]
    rows = {
        "ReRI and the rise with both sensors": lambda r: (r.reri, r.both),
        "DeCI and the rise with both sensors": lambda r: (r.deci, r.both),
        "ReRI and the rise with one sensor": lambda r: (r.reri, r.alone),
        "ReRI / DeCI and what the other sensor makes up for": lambda r: (
            r.reri / max(r.deci, 1e-30),
            r.made_up_for,
        ),
        "DeCI by masking and what the other sensor makes up for": lambda r: (
            r.by_masking,
            r.made_up_for,
        ),
    }
    for title, pair in rows.items():
        cells = []
        for group in OTHER:
            pairs = [pair(r) for r in removals if r.group == group]
            cells.append(f"{float(spearmanr(*zip(*pairs, strict=True))[0]):.2f}")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    for group in OTHER:
        own = [r for r in removals if r.group == group]
        share = sum(r.made_up_for > 0 for r in own) / len(own)
        lines.append(f"\n{group}: {len(own)} removals, made up for in {share:.0%}")
    return "\n".join(lines)


def draw(removals: list[Removal], out: Path) -> None:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for group, colour in (("camera", "#0072b2"), ("lidar", "#d55e00")):
        own = [r for r in removals if r.group == group]
        label = {"camera": "camera", "lidar": "LiDAR"}[group]
        total = sum(r.reri for r in own)
        left.scatter(
            [r.reri / total for r in own], [r.both for r in own], s=12, c=colour, label=label
        )
        right.scatter(
            [r.by_masking for r in own], [r.made_up_for for r in own], s=12, c=colour, label=label
        )
    left.set(xscale="log", xlabel="ReRI, share of its group (log scale)")
    left.set_yscale("symlog", linthresh=1e-3)
    left.set_ylabel("rise of the loss without them, both sensors")
    left.set_ylim(-0.1, 2)
    left.set_title("ReRI, and what a removal costs")
    right.axhline(0, c="0.8", lw=0.8)
    right.axvline(0, c="0.8", lw=0.8)
    right.set(
        xlabel="predicted: (DeCI alone - DeCI) / (sum)", ylabel="measured: (alone - both) / (sum)"
    )
    right.set_title("What the other sensor makes up for")
    left.legend()
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
