"""A model of somebody's own for a sweep's `model`: it builds a fusion model."""

from __future__ import annotations

from dataclasses import dataclass

from sparsefront.models import BEVFusionSmall


@dataclass(frozen=True)
class Wrapped(BEVFusionSmall):
    """The small BEVFusion under another name."""
