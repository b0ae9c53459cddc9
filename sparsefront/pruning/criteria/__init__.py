"""The catalogue of criteria: each is a frozen dataclass of its options, identified by `name`."""

from __future__ import annotations

from sparsefront.pruning.criteria.altermoma import AlterMOMA
from sparsefront.pruning.criteria.fisher import Fisher
from sparsefront.pruning.criteria.grasp import GraSP
from sparsefront.pruning.criteria.imp import IMP
from sparsefront.pruning.criteria.lamp import LAMP
from sparsefront.pruning.criteria.magnitude import Magnitude
from sparsefront.pruning.criteria.obs import OBS
from sparsefront.pruning.criteria.prospr import ProsPr
from sparsefront.pruning.criteria.random import Random
from sparsefront.pruning.criteria.snip import SNIP
from sparsefront.pruning.criteria.synflow import SynFlow
from sparsefront.pruning.criteria.taylor import Taylor

Criterion = (
    Magnitude
    | Random
    | SNIP
    | GraSP
    | SynFlow
    | ProsPr
    | Taylor
    | Fisher
    | LAMP
    | OBS
    | IMP
    | AlterMOMA
)

__all__ = [
    "IMP",
    "LAMP",
    "OBS",
    "SNIP",
    "AlterMOMA",
    "Criterion",
    "Fisher",
    "GraSP",
    "Magnitude",
    "ProsPr",
    "Random",
    "SynFlow",
    "Taylor",
]
