"""The search space: dotted fields of a TrialSpec, and how sampled values go into the spec."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparsefront.errors import InputError
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.trial_spec import TrialSpec

Value = float | int | str | bool | None | dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from low to high, both included; log: sampled evenly in the logarithm."""

    low: float | int
    high: float | int
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InputError(f"high: value {self.high!r}; allowed: above low ({self.low!r})")
        if self.log and self.low <= 0:
            raise InputError(f"low: value {self.low!r}; allowed: above 0 when log is true")

    def corners(self) -> list[Value]:
        return [self.low, self.high]

    def is_whole(self) -> bool:
        """Whether both bounds are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """One of a list of values: numbers, words, or whole specs such as {name: magnitude}."""

    choices: list[float | int | bool | str | dict[str, Any] | None]

    def __post_init__(self) -> None:
        if not self.choices:
            raise InputError("choices: value []; allowed: at least one value")

    def corners(self) -> list[Value]:
        return list(self.choices)


Space = Mapping[str, Range | Choices]


def with_values(spec: TrialSpec, values: Mapping[str, object]) -> TrialSpec:
    """The spec with dotted fields replaced; InputError naming a field that does not exist.

    A mapping takes the rest of the path as its key, so `allocation.per_stage.camera.backbone` sets
    the stage `camera.backbone`.
    """
    data = spec.to_dict()
    for name, value in values.items():
        _set(data, spec, name, value)
    return strict_yaml.from_data(data, TrialSpec, "trial")


def value_of(spec: TrialSpec, name: str) -> Any:
    """The value a dotted field has in the spec; None for a key that its mapping lacks."""
    holder, last = _holder(spec.to_dict(), spec, name)
    return holder.get(last)


def check_space(spec: TrialSpec, space: Space) -> None:
    """InputError unless every field exists and its extreme values make a valid spec."""
    for name, dimension in space.items():
        for corner in dimension.corners():
            try:
                with_values(spec, {name: corner})
            except InputError as error:
                message = str(error).removeprefix("trial: ").removeprefix("field ")
                message = message.removeprefix(f"{name}: ")
                raise InputError(f"space.{name}: {message}") from error


def size(space: Space) -> str:
    """How large the space is, in words: '4 ranges x 3 choices'."""
    ranges = sum(isinstance(d, Range) for d in space.values())
    parts = [f"{ranges} continuous or integer range{'s' * (ranges != 1)}"] if ranges else []
    parts += [f"{len(d.choices)} choices" for d in space.values() if isinstance(d, Choices)]
    return " x ".join(parts)


def describe(space: Space, weights: Mapping[str, int]) -> str:
    """A line for each field: what it may be, and of how many weight tensors it is the sparsity."""
    lines = []
    for name, dimension in space.items():
        if isinstance(dimension, Range):
            values = f"{dimension.low:g} to {dimension.high:g}{', log' * dimension.log}"
        else:
            values = f"one of {', '.join(map(str, dimension.choices))}"
        of = f", {weights[name]} weight tensors" if name in weights else ""
        lines.append(f"  {name}: {values}{of}")
    return "\n".join(lines)


def is_integer(spec: TrialSpec, name: str, dimension: Range) -> bool:
    """True where the field of the spec is an int (score_batches, fine_tune.steps)."""
    current = value_of(spec, name)
    return dimension.is_whole() and isinstance(current, int) and not isinstance(current, bool)


def _set(data: dict[str, Any], spec: TrialSpec, name: str, value: object) -> None:
    holder, last = _holder(data, spec, name)
    holder[last] = value


def _holder(data: dict[str, Any], spec: TrialSpec, name: str) -> tuple[dict[str, Any], str]:
    """The innermost mapping of `data` that holds the field, and the field's key there."""
    node: Any = spec
    parts = name.split(".")
    for depth, part in enumerate(parts):
        if isinstance(node, Mapping):
            return data, ".".join(parts[depth:])
        fields = [f.name for f in dataclasses.fields(node)] if _is_spec(node) else []
        if part not in fields:
            raise InputError(
                f"field {name}: no such field of a trial"
                f"{strict_yaml.closest(part, fields)}; allowed at "
                f"{'.'.join(parts[:depth]) or 'the top'}: {', '.join(fields) or 'nothing below'}"
            )
        node = getattr(node, part)
        if depth == len(parts) - 1:
            return data, part
        data = data[part] if isinstance(data[part], dict) else {}
    raise AssertionError(name)


def _is_spec(node: object) -> typing.TypeGuard[Any]:
    return dataclasses.is_dataclass(node) and not isinstance(node, type)
