"""CrossPrune: ADMM over modality groups with feature distortion (Lu et al., KBS 289, 2024).

    minimise   L(W) + sum_g lambda_g |F_g(W) - F_g(dense)|^2 / |F_g(dense)|^2
    so that    the weights of each sparsity group have at most k non-zeros

What one branch alone needs may be redundant to the model: the distortion of the fused map may stay
small while a branch's own map changes much, and that freedom lets its weights go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.gradients import Loss, check_reached, finite_loss
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.preserved import eval_with_gradients, kept_modes
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import prunable_weights

Features = Callable[[Any, Any], Mapping[str, Tensor]]
"""features(model, batch) -> group name -> the feature map that the group hands on."""
Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class CrossPrune:
    """Options of the ADMM.

    lambdas        weight of each group's feature distortion; 0 for a group that is not named
    rho            penalty rho_g, one for all groups or one for each
    num_rounds     at most so many rounds of W-, Z- and U-step
    steps, lr, optimizer   of the W-step: so many steps a round, over the batches again and again
    tolerance      stop when |W - Z| and |Z - Z_before| are both at most this share of |W|
    """

    lambdas: dict[str, float] = field(
        default_factory=lambda: {"camera": 1.0, "lidar": 1.0, "fusion": 1.0}
    )
    rho: float | dict[str, float] = 10.0
    num_rounds: int = 8
    steps: int = 4
    lr: float = 1e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        penalties = self.rho if isinstance(self.rho, dict) else {"all": self.rho}
        for name, value in [
            *((f"lambdas.{g}", v) for g, v in self.lambdas.items()),
            *((f"rho.{g}", v) for g, v in penalties.items()),
            ("lr", self.lr),
            ("tolerance", self.tolerance),
        ]:
            if not value >= 0:
                raise InputError(f"{name}: value {value!r}; allowed: 0 and above")
        for name in ("num_rounds", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: value {getattr(self, name)!r}; allowed: 1 and above")


@dataclass(frozen=True, kw_only=True)
class AdmmRound:
    """After one round: W, Z and U by weight name, the mask that made Z, residuals |W - Z| and
    |Z - Z_before|, and at the last W-step the loss and each group's distortion.
    """

    W: Tensors
    Z: Tensors
    U: Tensors
    mask: PruningMask
    primal: float
    dual: float
    loss: float
    distortion: dict[str, float]

    def log(self) -> dict[str, float]:
        """The numbers, without the tensors."""
        terms = {f"distortion.{group}": value for group, value in self.distortion.items()}
        return {"primal": self.primal, "dual": self.dual, "loss": self.loss, **terms}


def admm(
    model: nn.Module,
    groups: ModalityGroups,
    allocation: SparsityAllocation,
    batches: Sequence[Any],
    loss: Loss,
    features: Features,
    options: CrossPrune | None = None,
    *,
    scores: ImportanceScores | None = None,
) -> Iterator[AdmmRound]:
    """W, Z and U after each round, as it ends; the model then holds W, biases and norms trained
    along with it.

    scores: warm start; Z begins as the dense weights under the mask of these scores, otherwise as
    their projection. InputError for a lambda or rho of a group that is not there, ArithmeticError
    for a loss that is not finite; the model is then unchanged.
    """
    options = options or CrossPrune()
    if len(batches) == 0:
        raise InputError("batches: none given; allowed: at least one")
    weights = prunable_weights(model)
    rho = _penalties(options, groups.assign(weights))
    with _keep_modes(model):
        dense = _dense_features(model, batches, features, options.lambdas)
        W = _copy(weights)
        Z = _project(W, _support(W, allocation, groups, model, scores))
        U = {name: torch.zeros_like(w) for name, w in W.items()}
        optimizer = _optimizer(model, options)
        order = cycle(range(len(batches)))
        for _ in range(options.num_rounds):
            value: float = 0.0
            terms: dict[str, float] = {}
            for at in islice(order, options.steps):
                optimizer.zero_grad()
                value, terms = _w_step(
                    model, weights, Z, U, rho, batches[at], dense[at], loss, features, options
                )
                optimizer.step()
            W, before = _copy(weights), Z
            wanted = {name: W[name] + U[name] for name in W}
            mask = _support(wanted, allocation, groups, model)
            Z = _project(wanted, mask)
            U = {name: wanted[name] - Z[name] for name in W}
            primal, dual = _distance(W, Z), _distance(Z, before)
            yield AdmmRound(
                W=W, Z=Z, U=U, mask=mask, primal=primal, dual=dual, loss=value, distortion=terms
            )
            if max(primal, dual) <= options.tolerance * _norm(W):
                return


def hard_prune(
    model: nn.Module, rounds: Iterable[AdmmRound]
) -> tuple[PruningMask, list[dict[str, float]]]:
    """Runs the rounds of `admm` on the model, then prunes W to the support of the last Z, in place.
    Returns the mask, to hold while fine-tuning, and each round's residuals and terms.
    """
    mask, log = last_support(rounds)
    mask.apply(model)
    return mask, log


def last_support(rounds: Iterable[AdmmRound]) -> tuple[PruningMask, list[dict[str, float]]]:
    """Runs the rounds and returns the support of the last Z; the model is left holding W."""
    log = []
    last: AdmmRound | None = None
    for last in rounds:
        log.append(last.log())
    assert last is not None
    return last.mask, log


def _w_step(
    model: nn.Module,
    weights: Mapping[str, nn.Parameter],
    Z: Tensors,
    U: Tensors,
    rho: Mapping[str, float],
    batch: Any,
    dense: Mapping[str, Tensor],
    loss: Loss,
    features: Features,
    options: CrossPrune,
) -> tuple[float, dict[str, float]]:
    """Gradient of L + sum lambda_g distortion_g + sum rho_g / 2 |W_g - Z_g + U_g|^2, left in
    .grad; returns the loss and the distortions.
    """
    with torch.enable_grad():
        value = finite_loss(model, batch, loss)
        total = value
        terms: dict[str, float] = {}
        if dense:
            maps = features(model, batch)
            for group, target in dense.items():
                distortion = (maps[group] - target).square().sum() / target.square().sum()
                total = total + options.lambdas[group] * distortion
                terms[group] = float(distortion.detach())
        total.backward()
    check_reached(weights)
    with torch.no_grad():
        for name, weight in weights.items():
            penalty = rho[name] * (weight - Z[name] + U[name])
            weight.grad = penalty if weight.grad is None else weight.grad + penalty
    return float(value.detach()), terms


@contextmanager
def _keep_modes(model: nn.Module) -> Iterator[None]:
    """Eval mode inside (fixed running statistics); afterwards modes, .grad and requires_grad as
    before; after an error the weights too.
    """
    start = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    slopes = {p: p.grad for p in model.parameters()}
    for parameter in model.parameters():
        parameter.grad = None
    try:
        with kept_modes(model):
            eval_with_gradients(model)
            yield
    except Exception:
        model.load_state_dict(start)
        raise
    finally:
        for parameter, slope in slopes.items():
            parameter.grad = slope


@torch.no_grad()
def _dense_features(
    model: nn.Module, batches: Sequence[Any], features: Features, lambdas: Mapping[str, float]
) -> list[Tensors]:
    """The dense model's maps of each batch, of the groups whose lambda is above 0."""
    wanted = [group for group, weight in lambdas.items() if weight > 0]
    found = []
    for batch in batches:
        maps = features(model, batch) if wanted else {}
        for group in wanted:
            if group not in maps:
                raise InputError(
                    f"lambdas.{group}: no such feature map; allowed: {', '.join(maps)}"
                )
        found.append({group: maps[group].detach().clone() for group in wanted})
    return found


def _penalties(options: CrossPrune, by_group: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """rho by weight name."""
    rho = options.rho
    if not isinstance(rho, dict):
        return {name: rho for names in by_group.values() for name in names}
    if set(rho) != set(by_group):
        raise InputError(f"rho: groups {sorted(rho)}; allowed: one for each of {sorted(by_group)}")
    return {name: rho[group] for group, names in by_group.items() for name in names}


def _support(
    values: Tensors,
    allocation: SparsityAllocation,
    groups: ModalityGroups,
    model: nn.Module,
    scores: ImportanceScores | None = None,
) -> PruningMask:
    """The largest magnitudes (or scores) of each sparsity group."""
    scores = scores or ImportanceScores({name: value.abs() for name, value in values.items()})
    return PruningMask.from_scores(scores, allocation, groups, model)


def _project(values: Tensors, mask: PruningMask) -> Tensors:
    kept = mask.by_weight
    return {n: value.masked_fill(~kept[n].to(value.device), 0) for n, value in values.items()}


def _optimizer(model: nn.Module, options: CrossPrune) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    kind = torch.optim.Adam if options.optimizer == "adam" else torch.optim.SGD
    return kind(trained, lr=options.lr)


def _copy(weights: Mapping[str, nn.Parameter]) -> Tensors:
    return {name: weight.detach().clone() for name, weight in weights.items()}


def _distance(left: Tensors, right: Tensors) -> float:
    return _norm({name: left[name] - right[name] for name in left})


def _norm(values: Tensors) -> float:
    return float(
        torch.stack([value.double().square().sum() for value in values.values()]).sum().sqrt()
    )
