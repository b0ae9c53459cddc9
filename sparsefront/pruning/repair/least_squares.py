"""Cuts a model down to a mask and refits what stays, layer by layer, towards its dense answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.repair.matrices import as_rows, from_rows
from sparsefront.pruning.repair.moments import owners, unknown_kinds
from sparsefront.pruning.repair.refit import refit


@dataclass(frozen=True)
class LayerErrors:
    """Squared error of a layer's outputs as a share of their energy: of the cut alone, and after
    the refit.
    """

    cut: float
    refitted: float


@dataclass(frozen=True)
class RepairReport:
    """layers: by weight name; notes: what was left as it was, a line each."""

    layers: Mapping[str, LayerErrors] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@torch.no_grad()
def refit_least_squares(
    model: nn.Module, mask: PruningMask, moments: Mapping[str, Tensor], damping: float = 0.01
) -> RepairReport:
    """Zeroes what the mask takes from `model`, which still has its weights from before the cut, and
    refits the kept ones, in place. Biases and norms stay.

    moments: H of the layers' inputs before the cut (moments.second_moments); damping: lambda as a
    share of H's mean diagonal. Works for any mask: of single weights, N:M, channels (the layers
    that read removed ones are refitted).
    """
    parameters, layer_of = dict(model.named_parameters()), owners(model)
    errors: dict[str, LayerErrors] = {}
    singular: dict[str, int] = {}
    for name, kept in mask.by_weight.items():
        if name not in moments or bool(kept.all()):
            continue
        weight = parameters[name]
        moment = moments[name].to(weight.device)
        found, errors[name], failed = _layer(
            layer_of[name], weight, kept.to(weight.device), moment, damping
        )
        weight.copy_(found)
        if failed:
            singular[name] = failed
    mask.apply(model)
    return RepairReport(errors, tuple(_notes(model, mask, moments, singular)))


@torch.no_grad()
def refitted(
    model: nn.Module,
    kept: Mapping[str, Tensor],
    moments: Mapping[str, Tensor],
    damping: float = 0.01,
) -> dict[str, Tensor]:
    """How far cut and refit would move the weights of `kept` (name -> bool): w' - w, by name. The
    model is unchanged.
    """
    parameters, layer_of = dict(model.named_parameters()), owners(model)
    moved = {}
    for name, stays in kept.items():
        weight, keep = parameters[name].detach(), stays.to(parameters[name].device)
        if name in moments:
            moment = moments[name].to(weight.device)
            new, _, _ = _layer(layer_of[name], weight, keep, moment, damping)
        else:
            new = weight.masked_fill(~keep, 0)
        moved[name] = new - weight
    return moved


def _layer(
    module: nn.Module, weight: Tensor, kept: Tensor, moment: Tensor, damping: float
) -> tuple[Tensor, LayerErrors, int]:
    rows, stays = as_rows(module, weight), as_rows(module, kept)
    if len(moment) == 1:  # all outputs read the same
        rows, stays = rows.flatten(0, 1)[None], stays.flatten(0, 1)[None]
    parts = [refit(w, k, h, damping) for w, k, h in zip(rows, stays, moment, strict=True)]
    energy = sum(_energy(w, h) for w, h in zip(rows, moment, strict=True))
    errors = LayerErrors(
        sum(float(part.cut.sum()) for part in parts) / max(energy, 1e-300),
        sum(float(part.error.sum()) for part in parts) / max(energy, 1e-300),
    )
    found = torch.cat([part.rows for part in parts]).reshape(as_rows(module, weight).shape)
    return from_rows(module, found, weight), errors, sum(part.failed for part in parts)


def _energy(rows: Tensor, moment: Tensor) -> float:
    w, h = rows.double(), moment.double()
    return float(((w @ h) * w).sum())


def _notes(
    model: nn.Module, mask: PruningMask, moments: Mapping[str, Tensor], singular: Mapping[str, int]
) -> list[str]:
    pruned = [name for name, kept in mask.by_weight.items() if not bool(kept.all())]
    unknown = unknown_kinds(model)
    notes = [
        f"repair: {name}: layers of kind {unknown[name]} are not refitted"
        for name in pruned
        if name in unknown
    ]
    unseen = [name for name in pruned if name not in moments and name not in unknown]
    if unseen:
        notes.append(f"repair: not refitted, as no frame reached them: {', '.join(unseen)}")
    silent = [name for name in pruned if name in moments and not bool(moments[name].any())]
    if silent:
        notes.append(f"repair: not refitted, as their inputs are always zero: {', '.join(silent)}")
    notes += [
        f"repair: {name}: {count} outputs keep their cut weights, as their systems are singular; "
        "a damping above 0 mends that"
        for name, count in singular.items()
        if name not in silent
    ]
    return notes
