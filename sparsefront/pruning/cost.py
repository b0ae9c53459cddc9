"""ModelCost: parameters, non-zeros and MACs, dense and after pruning, per modality and layer.

A profile says how often each weight element is used in one forward pass; MACs after pruning are the
uses of the weights that stay. One MAC is one multiply-accumulate; FLOPs = 2 x MACs. "After pruning"
is theoretical: unstructured zeros make no GPU faster by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.forward import Forward, call
from sparsefront.pruning.groups import ModalityGroups, stage_of
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.stored_size import PARAMETER_BYTES, StoredSize, buffer_bytes, weight_bytes
from sparsefront.pruning.uses import LayerUses, UseCounter
from sparsefront.pruning.weights import counted_weights


@dataclass(frozen=True)
class CostRow:
    """One layer's, modality's or model's cost; MACs of one forward pass of one frame."""

    parameters: int
    nonzeros: int
    macs_dense: float
    macs: float

    def __add__(self, other: CostRow) -> CostRow:
        return CostRow(
            self.parameters + other.parameters,
            self.nonzeros + other.nonzeros,
            self.macs_dense + other.macs_dense,
            self.macs + other.macs,
        )


ZERO_COST = CostRow(0, 0, 0.0, 0.0)


@dataclass(frozen=True)
class ModelCost:
    """Totals, rows per modality (biases and norms among the parameters), per stage (multiplied
    weights only) and per weight; `stored` is the size of the model as it is deployed.
    """

    total: CostRow
    per_modality: dict[str, CostRow]
    per_stage: dict[str, CostRow]
    per_layer: dict[str, CostRow]
    not_counted: tuple[str, ...]
    stored: StoredSize

    @property
    def parameters(self) -> int:
        return self.total.parameters

    @property
    def nonzeros(self) -> int:
        return self.total.nonzeros

    @property
    def macs_dense(self) -> float:
        return self.total.macs_dense

    @property
    def macs(self) -> float:
        return self.total.macs

    def to_json(self) -> dict[str, Any]:
        """Plain data: total, per_modality, per_stage, per_layer, stored, and what counts zero."""
        return asdict(self)


def combine_costs(dense: ModelCost, smaller: ModelCost) -> ModelCost:
    """The cost of a model whose channels were removed, beside the dense model it came from:
    parameters and dense MACs of the dense one, non-zeros, MACs and stored size of the smaller one.
    """

    def row(before: CostRow, after: CostRow) -> CostRow:
        return CostRow(before.parameters, after.nonzeros, before.macs_dense, after.macs)

    def rows(before: dict[str, CostRow], after: dict[str, CostRow]) -> dict[str, CostRow]:
        return {name: row(cost, after[name]) for name, cost in before.items()}

    return ModelCost(
        row(dense.total, smaller.total),
        rows(dense.per_modality, smaller.per_modality),
        rows(dense.per_stage, smaller.per_stage),
        rows(dense.per_layer, smaller.per_layer),
        dense.not_counted,
        replace(smaller.stored, bytes_dense=dense.stored.bytes_dense),
    )


@dataclass(frozen=True)
class CostProfile:
    """How a model uses its weights, averaged over `frames` forward passes; picklable.

    layers       by weight name
    modality     group of each counted weight
    others       parameters outside counted weights (biases, norms), by group
    buffers      bytes of the buffers that are stored (running statistics)
    not_counted  operations that count zero MACs
    """

    layers: Mapping[str, LayerUses]
    modality: Mapping[str, str]
    others: Mapping[str, int]
    buffers: int
    frames: int
    not_counted: tuple[str, ...]

    def cost(self, pruned: nn.Module | PruningMask | Mapping[str, Tensor]) -> ModelCost:
        """Cost of a model, of a state dict, or of the dense model under a mask. No forward pass."""
        kept = self._kept(pruned)
        rows = {name: _row(uses, kept.get(name)) for name, uses in self.layers.items()}
        modalities = dict.fromkeys([*self.modality.values(), *self.others], ZERO_COST)
        for name, row in rows.items():
            modalities[self.modality[name]] += row
        for group, count in self.others.items():
            modalities[group] += CostRow(count, count, 0.0, 0.0)
        stages: dict[str, CostRow] = {}
        for name, row in rows.items():
            stages[stage_of(name)] = stages.get(stage_of(name), ZERO_COST) + row
        total = sum(modalities.values(), ZERO_COST)
        stored = self._stored(list(rows.values()), total.parameters)
        return ModelCost(total, modalities, stages, rows, self.not_counted, stored)

    def _stored(self, weights: list[CostRow], parameters: int) -> StoredSize:
        whole = self.buffers + PARAMETER_BYTES * sum(self.others.values())
        return StoredSize(
            parameters=parameters,
            bytes=whole + sum(weight_bytes(row.parameters, row.nonzeros) for row in weights),
            bytes_dense=self.buffers + PARAMETER_BYTES * parameters,
        )

    def _kept(self, pruned: nn.Module | PruningMask | Mapping[str, Tensor]) -> dict[str, Tensor]:
        if isinstance(pruned, PruningMask):
            return dict(pruned.by_weight)
        tensors = dict(pruned.named_parameters()) if isinstance(pruned, nn.Module) else pruned
        for name, uses in self.layers.items():
            if name not in tensors or tuple(tensors[name].shape) != uses.shape:
                raise InputError(
                    f"cost: the profile has {name} {list(uses.shape)}; the model has not"
                )
        return {name: tensors[name].detach() != 0 for name in self.layers}


def profile(
    model: nn.Module,
    batches: Sequence[Any],
    forward: Forward = call,
    groups: ModalityGroups | None = None,
) -> CostProfile:
    """Runs forward(model, batch) on each batch (one frame each) and counts uses of every weight.

    Sparse convolutions depend on the input: give the fixed list of frames that they are averaged
    over. The model's training mode and buffers are untouched in eval mode, the usual state here.
    """
    if not batches:
        raise InputError("batches: none given; allowed: at least one frame to count on")
    groups = groups or ModalityGroups.from_model(model)
    weights = dict(counted_weights(model))
    with UseCounter(model) as counter, torch.no_grad():
        for batch in batches:
            forward(model, batch)
    others: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if name not in weights:
            group = groups.group_of(name)
            others[group] = others.get(group, 0) + parameter.numel()
    return CostProfile(
        layers={n: counter.uses_of(n, w, len(batches)) for n, w in weights.items()},
        modality={name: groups.group_of(name) for name in weights},
        others=others,
        buffers=buffer_bytes(model),
        frames=len(batches),
        not_counted=counter.not_counted(),
    )


def _row(uses: LayerUses, kept: Tensor | None) -> CostRow:
    size = 1
    for length in uses.shape:
        size *= length
    dense = uses.macs(None)
    if kept is None:
        return CostRow(size, size, dense, dense)
    return CostRow(size, int(kept.sum()), dense, uses.macs(kept))
