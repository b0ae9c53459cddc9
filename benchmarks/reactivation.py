"""`python -m benchmarks.reactivation`: do AlterMOMA's two indicators agree on the study's model?

For every group and masking: rank correlation of DeCI and ReRI, and how much of the most important
weights (the 5 % of highest DeCI, and all DeCI) has a negative score at alpha = beta.
"""

from __future__ import annotations

import torch
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.study import spec_of
from sparsefront.models import build
from sparsefront.pruning.criteria import AlterMOMA
from sparsefront.pruning.criteria.altermoma import DECI
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.search.trial import score_cache
from sparsefront.search.trial.shared import prepare

SAMPLE = 100_000


def main() -> None:
    spec = spec_of(AlterMOMA(), seed=0)
    statistics = prepare(spec).statistics[score_cache.key_of(spec)]
    groups = ModalityGroups.from_model(build(spec.model))
    print("| group | masked | rank correlation | of the top 5 % | of all DeCI |")
    print("|---|---|---|---|---|")
    for group, names in groups.assign(statistics[DECI]).items():
        deci = flat(statistics[DECI], names)
        for statistic, by_weight in statistics.items():
            if statistic == DECI or names[0] not in by_weight:
                continue
            reri = flat(by_weight, names)
            negative = deci / deci.sum() < reri / reri.sum()
            highest = deci.argsort(descending=True)[: len(deci) // 20]
            generator = torch.Generator().manual_seed(0)
            chosen = torch.randperm(len(deci), generator=generator)[:SAMPLE]
            rank = float(spearmanr(deci[chosen], reri[chosen])[0])
            top = float(negative[highest].double().mean())
            mass = float(deci[negative].sum() / deci.sum())
            masked = statistic.rpartition("_")[2]
            print(f"| {group} | {masked} | {rank:.2f} | {top:.0%} | {mass:.0%} |")


def flat(by_weight: dict[str, Tensor], names: tuple[str, ...]) -> Tensor:
    return torch.cat([by_weight[name].flatten() for name in names]).double()


if __name__ == "__main__":
    main()
