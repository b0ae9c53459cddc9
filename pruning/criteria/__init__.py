"""The catalogue of criteria: each is a frozen dataclass of its options, told by `name`."""

from __future__ import annotations

from pruning.criteria.altermoma import AlterMOMA
from pruning.criteria.magnitude import Magnitude
from pruning.criteria.snip import SNIP

Criterion = Magnitude | SNIP | AlterMOMA

__all__ = ["SNIP", "AlterMOMA", "Criterion", "Magnitude"]
