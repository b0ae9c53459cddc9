"""The catalogue of criteria: each is a frozen dataclass of its options, told by `name`."""

from __future__ import annotations

from pruning.criteria.altermoma import AlterMOMA
from pruning.criteria.fisher import Fisher
from pruning.criteria.grasp import GraSP
from pruning.criteria.imp import IMP
from pruning.criteria.lamp import LAMP
from pruning.criteria.magnitude import Magnitude
from pruning.criteria.prospr import ProsPr
from pruning.criteria.random import Random
from pruning.criteria.snip import SNIP
from pruning.criteria.synflow import SynFlow
from pruning.criteria.taylor import Taylor

Criterion = (
    Magnitude | Random | SNIP | GraSP | SynFlow | ProsPr | Taylor | Fisher | LAMP | IMP | AlterMOMA
)

__all__ = [
    "IMP",
    "LAMP",
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
