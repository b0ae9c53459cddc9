"""SynFlow: iterative synaptic flow, without data (Tanaka et al., NeurIPS 2020, alg. 1, eq. 1)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.criteria.criterion import CriterionBase, Statistics
from sparsefront.pruning.forward import Forward, call
from sparsefront.pruning.gradients import Loss
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import top_masks
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.sparse_autograd import absolute_features, plain_sparse_layers
from sparsefront.pruning.weights import prunable_weights, weight_fields


@dataclass(frozen=True, kw_only=True)
class SynFlow(CriterionBase):
    """|w dR/dw| with R the sum of the outputs on an all-ones input, every parameter and buffer by
    its absolute value, in eval mode and float64. The loss is not used; the first batch only gives
    the input's shape (and, for point clouds, where points are).

    num_iterations   n; after iteration k the density over all prunable weights is rho^(k/n)
    sparsity         1 - rho, the fraction removed in the end; pruned weights score 0
    """

    uses_forward: ClassVar[bool] = True

    name: Literal["synflow"] = "synflow"
    num_iterations: int = 100
    sparsity: float = 0.9

    def __post_init__(self) -> None:
        if self.num_iterations < 1:
            raise InputError(f"num_iterations: value {self.num_iterations!r}; allowed: 1 and above")
        if not 0 <= self.sparsity < 1:
            raise InputError(f"sparsity: value {self.sparsity!r}; allowed: 0 <= x < 1")

    def statistics(
        self,
        model: nn.Module,
        groups: ModalityGroups,
        batches: Sequence[Any],
        loss: Loss,
        forward: Forward = call,
    ) -> dict[str, dict[str, Tensor]]:
        if len(batches) == 0:
            raise InputError("batches: none given; allowed: one, for the input's shape")
        dtypes = {name: weight.dtype for name, weight in prunable_weights(model).items()}
        positive = positive_copy(model)
        ones = all_ones(batches[0])
        weights = prunable_weights(positive)
        scores: dict[str, Tensor] = {}
        with plain_sparse_layers(positive):
            for iteration in range(1, self.num_iterations + 1):
                scores.clear()  # before the next ones are made: memory
                scores.update(flow_scores(positive, weights, ones, forward))
                if iteration < self.num_iterations:
                    density = (1 - self.sparsity) ** (iteration / self.num_iterations)
                    _keep(weights, scores, density)
        return {"flow": {n: s.to(dtypes[n]) for n, s in _fit_dtypes(scores, dtypes).items()}}

    def combine(self, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
        return ImportanceScores(statistics["flow"], channels="sum")


def flow_scores(
    model: nn.Module, weights: Mapping[str, nn.Parameter], ones: Any, forward: Forward = call
) -> dict[str, Tensor]:
    """w dR/dw of a positive model on an all-ones input."""
    with torch.enable_grad():
        total = output_sum(forward(model, ones))
        if not torch.isfinite(total):
            raise ArithmeticError(f"synaptic flow is not finite: {total.item()}")
        found = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    return {
        name: torch.zeros_like(w) if g is None else g.detach().mul_(w.detach()).abs_()
        for (name, w), g in zip(weights.items(), found, strict=True)
    }


def positive_copy(model: nn.Module) -> nn.Module:
    """A float64 copy in eval mode, absolute values throughout; raw inputs become positive too."""
    copied = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for tensor in copied.state_dict().values():  # not what only follows from a configuration
            if tensor.is_floating_point():
                tensor.abs_()
    for parameter in copied.parameters():
        parameter.requires_grad_(True)
    for module in copied.modules():
        if weight_fields(module) and not isinstance(module, nn.MultiheadAttention):
            module.register_forward_pre_hook(_positive_input)
    return copied


def all_ones(batch: Any) -> Any:
    """The batch with every floating tensor as float64 ones, at any depth. An object that knows
    better (where the points of a cloud are matters) gives it as `batch.all_ones()`.
    """
    if hasattr(batch, "all_ones"):
        return batch.all_ones()
    if torch.is_tensor(batch):
        return torch.ones_like(batch, dtype=torch.float64) if batch.is_floating_point() else batch
    if isinstance(batch, Mapping):
        return {key: all_ones(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        values = [all_ones(value) for value in batch]
        return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{f.name: all_ones(getattr(batch, f.name)) for f in fields(batch)})
    return batch


def output_sum(output: Any) -> Tensor:
    """Sum of every floating tensor of an output, at any depth."""
    if torch.is_tensor(output):
        if output.is_floating_point():
            return output.sum()
        return torch.zeros((), dtype=torch.float64, device=output.device)
    values = output.values() if isinstance(output, Mapping) else output
    return torch.stack([output_sum(value) for value in values]).sum()


def _fit_dtypes(
    scores: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype]
) -> Mapping[str, Tensor]:
    """The scores as they are where the model's dtype holds them (float64 always does). The flow of
    a deep model does not fit float32: then they go over their largest and, where the smallest would
    vanish, all to one power below 1, which keeps their order.
    """
    largest = max(float(s.max()) for s in scores.values())
    smallest = min((float(s[s > 0].min()) for s in scores.values() if s.any()), default=largest)
    room = min(torch.finfo(dtype).max for dtype in dtypes.values())
    least = max(torch.finfo(dtype).tiny for dtype in dtypes.values())
    if largest < room and smallest > least:
        return scores
    span = math.log(largest) - math.log(smallest)
    power = min(1.0, -math.log(least) / span) if span > 0 else 1.0
    return {name: (score / largest) ** power for name, score in scores.items()}


def _positive_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (absolute_features(inputs[0]), *inputs[1:])


@torch.no_grad()
def _keep(
    weights: Mapping[str, nn.Parameter], scores: Mapping[str, Tensor], density: float
) -> None:
    """Zeroes all but the `density` share of highest scores, over all weights at once."""
    total = sum(score.numel() for score in scores.values())
    kept = top_masks(list(scores.values()), round(density * total))
    for weight, part in zip(weights.values(), kept, strict=True):
        weight.masked_fill_(~part, 0)
