"""What every criterion is: its options, and how statistics become importance scores."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.forward import Forward, call
from sparsefront.pruning.gradients import Loss
from sparsefront.pruning.groups import ModalityGroups, stage_of
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import prunable_weights

Statistics = Mapping[str, Mapping[str, Tensor]]
"""Statistic -> weight name -> tensor shaped like the weight, in the weight's dtype."""


class CriterionBase(ABC):
    """Statistics are the slow part, taken once per model; combining them is free of passes.

    uses_batches  False where weights alone say everything: no batches need be given
    uses_forward  True where `statistics` takes forward(model, batch), too
    """

    uses_batches: ClassVar[bool] = True
    uses_forward: ClassVar[bool] = False

    def scores(
        self,
        model: nn.Module,
        groups: ModalityGroups,
        batches: Sequence[Any],
        loss: Loss,
        forward: Forward = call,
    ) -> ImportanceScores:
        """Importance of every prunable weight; the model is left as it was.

        batches: any sequence; loss(model, batch) -> scalar; forward(model, batch) -> outputs.
        InputError for weights in no group or missing batches, ArithmeticError for a loss or score
        that is not finite.
        """
        more = {"forward": forward} if self.uses_forward else {}
        statistics = self.statistics(model, groups, batches, loss, **more)
        scores = self.combine(statistics, groups)
        self.check_scored(scores, groups, model)
        return scores

    def check_scored(
        self,
        scores: ImportanceScores,
        groups: ModalityGroups,
        model: nn.Module,
        spared: Collection[str] = (),
    ) -> None:
        """InputError where all of a group's or a stage's weights score 0 and are not 0 themselves:
        which of them go would be decided by their position. `spared` weights need no score.
        """
        weights = prunable_weights(model)
        parts: dict[str, list[str]] = {}
        for name, weight in weights.items():
            if name not in spared and weight.any():
                for part in dict.fromkeys((groups.group_of(name), stage_of(name))):
                    parts.setdefault(part, []).append(name)
        silent = [p for p, ns in parts.items() if not any(scores.by_weight[n].any() for n in ns)]
        if silent:
            raise InputError(
                f"criterion {getattr(self, 'name', type(self).__name__)}: every score of "
                f"{', '.join(silent)} is 0, so nothing says what goes first there; allowed: "
                "batches and a loss that tell its weights apart, another criterion, or sparsity 0 "
                "there (per_stage)"
            )

    @abstractmethod
    def statistics(
        self, model: nn.Module, groups: ModalityGroups, batches: Sequence[Any], loss: Loss
    ) -> dict[str, dict[str, Tensor]]:
        """What the scores are made of."""

    @abstractmethod
    def combine(self, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
        """Scores of these options from statistics."""

    def statistics_key(self) -> str:
        """Equal keys, equal statistics: every option except those that only `combine` reads."""
        fields = {k: v for k, v in asdict(self).items() if k not in self.combine_only()}  # type: ignore[call-overload]
        return json.dumps(fields, sort_keys=True, default=str)

    def combine_only(self) -> frozenset[str]:
        """Options that the statistics do not depend on."""
        return frozenset()
