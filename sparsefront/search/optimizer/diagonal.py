"""Points along the diagonal of a space: in one of sparsities, the uniform allocations."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

POINTS = 4
SPACING_EXPONENT = 1.5
"""Above 1 points are closer at the high end, where a point of sparsity costs most."""


def diagonal(fields: Mapping[str, BaseDistribution], points: int) -> list[dict[str, float | int]]:
    """Every range at the same share of its width, from all low to all high; choices are left out.
    Empty where there is no range.
    """
    ranges = {
        name: field
        for name, field in fields.items()
        if isinstance(field, FloatDistribution | IntDistribution)
    }
    shares = (
        [1 - (1 - i / max(1, points - 1)) ** SPACING_EXPONENT for i in range(points)]
        if ranges
        else []
    )
    return [{name: _at(field, share) for name, field in ranges.items()} for share in shares]


def _at(field: FloatDistribution | IntDistribution, share: float) -> float | int:
    """The value at a share of the range, of its logarithm where it is sampled in that."""
    if field.log:
        value = field.low * (field.high / field.low) ** share
    else:
        value = field.low + share * (field.high - field.low)
    value = min(value, field.high)
    return round(value) if isinstance(field, IntDistribution) else value
