"""A search space in Optuna's form: distributions, and values that it can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sparsefront.errors import InputError
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.space import Choices, Range, Space, Value

FORMS = "{low: X, high: Y, log: true or false}, {choices: [...]} or (low, high)"


def distributions(
    space: Space, integers: frozenset[str] | None = None
) -> dict[str, BaseDistribution]:
    """Optuna's form of the space; integers: fields that take whole numbers only, None: those with
    whole bounds.
    """
    found: dict[str, BaseDistribution] = {}
    for name, dimension in space.items():
        if not isinstance(dimension, Range):
            found[name] = CategoricalDistribution([encode(c) for c in dimension.choices])
        elif name in integers if integers is not None else dimension.is_whole():
            found[name] = IntDistribution(int(dimension.low), int(dimension.high), dimension.log)
        else:
            found[name] = FloatDistribution(dimension.low, dimension.high, dimension.log)
    return found


def space_of(given: Mapping[str, Any]) -> Space:
    """The space of ranges and choices in any of their FORMS, as a sweep file has them. InputError
    naming the field.
    """
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"space: value {given!r}; allowed: field names, each with {FORMS}")
    return {name: _dimension(name, dimension) for name, dimension in given.items()}


def _dimension(name: str, given: Any) -> Range | Choices:
    if isinstance(given, tuple) and len(given) == 2:
        given = {"low": given[0], "high": given[1]}
    if isinstance(given, Mapping):
        kind = Choices if "choices" in given else Range
        given = strict_yaml.from_data(dict(given), kind, f"space.{name}")
    if not isinstance(given, Range | Choices):
        raise InputError(f"space.{name}: value {given!r}; allowed: {FORMS}")
    if isinstance(given, Range) and not math.isfinite(given.high - given.low):
        raise InputError(f"space.{name}: value {given!r}; allowed: finite bounds")
    return given


def check_values(
    values: Mapping[str, Value], fields: Mapping[str, BaseDistribution], what: str
) -> None:
    """InputError for a field that the space lacks, or a value outside of it."""
    for name, value in values.items():
        if name not in fields:
            near = strict_yaml.closest(name, list(fields))
            raise InputError(f"{what}: no field {name!r}{near}; allowed: {', '.join(fields)}")
        if not contains(fields[name], value):
            raise InputError(f"{what}.{name}: value {value!r}; allowed: {fields[name]}")


def contains(distribution: BaseDistribution, value: Value) -> bool:
    """Whether a field's distribution has this value."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(encode(value))))
    except (ValueError, TypeError):
        return False


def first_untried(
    fields: Mapping[str, BaseDistribution], tried: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The first values, in Optuna's form, of a space without real numbers that are not among those
    tried; None where all are, or where there are infinitely many.
    """
    each = [_all_of(field) for field in fields.values()]
    if any(values is None for values in each):
        return None
    known = {tuple(params.get(name) for name in fields) for params in tried}
    for values in product(*(values for values in each if values is not None)):
        if values not in known:
            return dict(zip(fields, values, strict=True))
    return None


def _all_of(field: BaseDistribution) -> Sequence[Any] | None:
    if isinstance(field, CategoricalDistribution):
        return field.choices
    if isinstance(field, IntDistribution):
        return range(field.low, field.high + 1, field.step)
    return None


def encode(value: Value) -> Any:
    """A whole spec as the one-line JSON that Optuna can hold; anything else as it is."""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


def decode(value: Any) -> Value:
    """What `encode` made of a value, undone."""
    if isinstance(value, str) and value.startswith("{"):
        loaded: dict[str, Any] = json.loads(value)
        return loaded
    return value
