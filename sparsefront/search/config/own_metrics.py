"""Metrics of one's own, that follow from a trial's others."""

from __future__ import annotations

from collections.abc import Mapping

from sparsefront.errors import InputError
from sparsefront.search.config.trial_spec import TrialSpec


def with_own_metrics(
    spec: TrialSpec, metrics: Mapping[str, float], per_class: Mapping[str, float]
) -> dict[str, float]:
    """The metrics, and those of one's own that follow from them. InputError for no number."""
    found = dict(metrics)
    for own in spec.own_metrics:
        value = own.value({**per_class, **metrics})
        try:
            found[type(own).__name__] = float(value)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"objective {own.name}: value returned {value!r}; allowed: a number"
            ) from error
    return found
